import type { ErrorCode } from '@damon/protocol/errors'
import type { Member } from './bus.ts'

/** One record as the store keeps it. */
export interface StoredRecord {
  key: string
  value: Buffer
  /** The store's count of changes when it was last changed. */
  revision: number
  /** The revision at which its present owner got it. */
  generation: number
  leased: boolean
  /** `suspect`: its owner is gone, in grace. */
  state: 'live' | 'suspect'
}

/** One step in the life of a record; revisions follow one another without a hole. */
export type RecordChange =
  | { change: 'put' | 'suspect'; record: StoredRecord }
  | { change: 'drop'; key: string; revision: number; reason: string }

/** What a write asks for. `owner` is the writer's session. */
export interface Put {
  owner: string
  subject: string
  key: string
  value: Buffer
  leased: boolean
  expect?: number | undefined
  generation?: number | undefined
}

/** What a write did, or the coded refusal. */
export type Written = { revision: number; generation: number } | { refused: ErrorCode }

/** A session as the store knows it. */
export interface SessionEntry {
  session: string
  subject: string
  channels: string[]
}

/**
 * The state that all workers share: who is connected, who is in which channel, and the records.
 * Every method MUST be atomic and MUST reject with an error when the store cannot be reached within a second.
 */
export interface Store {
  /** Differs when the store was emptied. */
  readonly epoch: string

  /** MUST answer with the stamp before which requests do not concern the new member. */
  openSession(entry: SessionEntry): Promise<number>
  join(session: string, channel: string): Promise<number>
  leave(session: string, channel: string): Promise<void>
  /** `left`: leased records go at once. `lost`: they turn suspect and go after the grace. MUST announce it to `onGone`. */
  endSession(session: string, how: 'left' | 'lost'): Promise<void>
  /** One member of the channel, any. */
  pick(channel: string): Promise<Member | undefined>
  /** Which of these sessions are not open. */
  absent(sessions: string[]): Promise<string[]>

  put(put: Put): Promise<Written>
  /** A new value for a live leased record, by its owner only. */
  patch(owner: string, key: string, value: Buffer): Promise<Written>
  drop(drop: {
    owner: string
    subject: string
    key: string
    reason: string
    expect?: number | undefined
  }): Promise<Written>
  /** All records at some instant not before the call, and a revision not after it. */
  snapshot(): Promise<{ revision: number; records: StoredRecord[] }>

  /** Renews this worker's lease, over every connection that it needs; false: it was fenced, and MUST end. */
  renew(): Promise<boolean>
  /** Ends workers that did not renew, and records past their grace; see `lateSweepMs`. Any worker may, at any time. */
  sweep(): Promise<void>
}

/** What the store tells of its own accord; a change may be missed, which shows as a hole in the revisions. */
export interface StoreEvents {
  change(change: RecordChange): void
  /** Sessions that ended, on whatever worker. */
  gone(sessions: string[]): void
  /** A worker ended: MUST come after all that it appended. */
  ended(origin: number): void
  /** The connection to the store came or went; MUST NOT be true before everything subscribed arrives again. */
  connected(ok: boolean): void
  /** Something came that cannot be read; what it said is missing. */
  garbled(error: unknown): void
  /** The store has cut this worker off for good. */
  cutOff(): void
}

/** Time after which a worker that does not renew is taken for dead, ms. */
export const workerLeaseMs = 5_000

/** How often a worker renews, and sweeps, ms. */
export const sweepMs = 1_000

/**
 * A sweep that comes this long after the one before, ms, shows that nobody reached the store meanwhile: nobody is to blame
 * for that time, and every lease and grace is lengthened by it.
 */
export const lateSweepMs = 2_000
