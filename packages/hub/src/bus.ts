import type { Position } from '@damon/protocol/frames'

/** What the frames of a batch are; a batch holds one kind. */
export const batchKinds = ['message', 'request', 'answer'] as const
export type BatchKind = (typeof batchKinds)[number]

/** What one origin put on one channel in one tick. */
export interface Batch {
  channel: string
  origin: number
  /** The origin's previous number on this channel, 0 for none: a subscriber that has not seen it has a hole. */
  prev: number
  /** Number of its first frame. */
  first: number
  /** Number of its last frame. */
  last: number
  kind: BatchKind
  /** Its origin delivered it to its own members already, before it was on the bus. */
  fast: boolean
  /** Its frames one behind another as they go to the sockets: WebSocket header and `damon.v1`, the same for all receivers. */
  bytes: Buffer
  /** How many they are, where that is known. */
  frames?: number
}

/** A member of a channel at the moment a request froze it. */
export interface Member {
  session: string
  /** `SERVICE/INSTANCE`. */
  subject: string
}

/** A request as it goes out with an append: from that step on it is remembered with its receivers, until it is settled. */
export interface Asked {
  /** The requester's session. */
  session: string
  /** The requester's number of it. */
  number: number
  channel: string
  /** From now. */
  deadlineMs: number
  quorum: number
  /** Its one receiver, beside those that it was given to before; else they are the members of the channel, which MUST be frozen too. */
  member?: Member | undefined
}

/** Why an append was not confirmed: `unavailable` may have happened, `fenced` has not and never will. */
export class BusError extends Error {
  override readonly name = 'BusError'
  readonly code: 'unavailable' | 'fenced'

  constructor(code: 'unavailable' | 'fenced', cause?: unknown) {
    super(code === 'fenced' ? 'This origin was fenced.' : 'The bus did not confirm in time.', { cause })
    this.code = code
  }
}

/**
 * Carries what workers dispatch to the workers that hold the receivers, and keeps it in a log.
 * A channel is an address (`all`, `group/G`, `client/S/I`) or `session/ID`.
 */
export interface Bus {
  /** This worker's number, never used before. */
  readonly origin: number

  /**
   * MUST append to the origin's log and publish, both or neither, in order, before it resolves. MUST answer with the
   * members of each channel of `freeze`, taken in the same atomic step, and remember what is `asked`. MUST reject with BusError. A fast batch MAY be
   * kept from its own origin.
   */
  append(batches: Batch[], freeze: string[], asked?: Asked[]): Promise<Member[][]>

  /**
   * This origin keeps no head of these channels any more, and will name its floor, the highest number among all that it
   * forgot, as the predecessor of what it puts on them next.
   */
  forget(channels: string[]): void

  /**
   * What the logs hold of these ranges: MUST be in order of stamps; a batch MAY begin before its range or end after it.
   * What the logs cannot prove to be complete, because they were trimmed or are gone, or because it is more than `bytes`
   * in all, MUST be among the missing. What was never confirmed and is in no log is not missing: it never was.
   */
  read(ranges: Range[], bytes: number): Promise<Reading>

  /** Where every origin stands on these channels. MUST resolve only after everything up to there that is not lost has arrived. */
  heads(channels: string[]): Promise<Position[]>

  /** MUST resolve only after every later append to the channel will arrive. */
  subscribe(channel: string): Promise<void>
  unsubscribe(channel: string): void
}

/** What was appended, and when in the order of all appends. */
export interface Logged {
  batch: Batch
  stamp: number
}

/** What the logs hold, and what they cannot prove. */
export interface Reading {
  batches: Logged[]
  missing: Range[]
}

/** Where a bus brings what was appended. `stamp` rises with every append of any origin. */
export type Arrive = (batch: Batch, stamp: number) => void

/** In a range that is to be read: whatever the origin put on any channel. */
export const everyChannel = '*'

/** Frames of one origin and destination, by number. */
export interface Range {
  origin: number
  /** The channel, or `everyChannel`. */
  to: string
  from: number
  until: number
}
