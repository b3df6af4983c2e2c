import type { ErrorCode } from '@damon/protocol/errors'
import type { Position } from '@damon/protocol/frames'
import type { Member } from './bus.ts'

/** The bytes of a record's value, each as one character (latin1): there are many, and a small Buffer takes four times as much. */
export type RecordValue = string

/** One record as the store keeps it. */
export interface StoredRecord {
  key: string
  value: RecordValue
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
  value: RecordValue
  leased: boolean
  /** How many kept records the subject may have, this one included. */
  most?: number | undefined
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
  /** A digest of the secret with which it can be taken over; without one it cannot. */
  ticket?: string | undefined
}

/** A request that is not settled, as the store remembers it. */
export interface OpenRequest {
  /** The requester's number of it. */
  number: number
  channel: string
  quorum: number
  /** Until its deadline, ms; negative after it. */
  leftMs: number
  receivers: Member[]
  /** Where every origin stood on the requester's channel: words on this request come later. */
  heads: Position[]
}

/** For which request a member is picked. */
export interface Picking {
  session: string
  number: number
  deadlineMs: number
}

/** A request that is settled. */
export interface Settled {
  session: string
  number: number
  /** The members that were picked for it. */
  picked: string[]
}

/** Where a session stands with its channels at the instant when it became their member. */
export interface Joined {
  /** Requests stamped up to it do not concern the new member. */
  stamp: number
  /**
   * The last number of every origin on each of the channels, and on the session's own; where an origin has forgotten the
   * channel, the number up to which it may have put something there.
   */
  heads: Position[]
}

/** A session that goes on here, or why it does not. */
export type Taken =
  | (Joined & {
      /** All its frames up to this number are settled. */
      done: number
      /** The worker that it was on before. */
      owner: number
      /** The stamp when it was lost, if it was: requests stamped later, up to the one of now, do not concern it. */
      lost: number | undefined
      /** Keys of the leased records that it owns. */
      leases: string[]
    })
  | { refused: 'unknown_session' }
  /** Another worker still holds its line, and was asked to release it. */
  | { refused: 'busy'; owner: number }

/** How long what is left of a session and its owner lasts, ms. */
export interface StoreTimes {
  /** A leased record without a live owner. */
  graceMs: number
  /** A session whose line is gone is `away`: all is as if it were there. */
  awayMs: number
  /** A session that is lost can still be taken over. */
  resumeMs: number
}

/** How long an origin's log keeps what it appended, ms: longer than any session may be without a line. */
export function logMs({ awayMs, resumeMs }: StoreTimes): number {
  return awayMs + resumeMs + 28_000
}

/** How long a request is remembered after its deadline, ms. */
export const askedMs = 90_000

/** Of so many members at most the one with the fewest requests is looked for. */
export const pickedAmong = 256

/**
 * The state that all workers share: who is connected, who is in which channel, and the records.
 *
 * A session that can be taken over ends in stages. Its line gone without goodbye, it is `away`; after `awayMs` it is
 * `lost`: told to `gone`, member of nothing, its leased records suspect; after `resumeMs` more it is over, and its
 * `service/` record with it. One that cannot is lost and over at once.
 *
 * Every method MUST be atomic and MUST reject with an error when the store cannot be reached within a second.
 */
export interface Store {
  /** Differs when the store was emptied. */
  readonly epoch: string

  openSession(entry: SessionEntry): Promise<Joined>
  join(session: string, channel: string): Promise<Joined>
  leave(session: string, channel: string): Promise<void>
  /** `left`: over at once, leased records with it. `lost`: as if it had been away for long enough. */
  endSession(session: string, how: 'left' | 'lost'): Promise<void>
  /**
   * The line of this worker's session is gone: it is away, and all its frames up to `done` are settled. MUST be called
   * after its last append was confirmed. Does nothing to a session that another worker has.
   */
  release(session: string, done: number): Promise<void>
  /**
   * Makes this worker the session's owner, and the session a member of exactly these channels; its records that are
   * suspect live again. MUST refuse another subject or ticket as unknown. MUST resolve only after everything that was
   * appended before has arrived here.
   */
  takeOver(entry: SessionEntry & { ticket: string }): Promise<Taken>
  /** Ends a worker: from then on it can neither append nor release. Its sessions are away. */
  fence(origin: number): Promise<void>
  /** One member of the channel, any. */
  pick(channel: string): Promise<Member | undefined>
  /**
   * Of the channel's members but for `except`, one that is picked for the fewest requests which are neither settled nor past
   * their deadline. It counts as picked for this one.
   */
  pickFor(request: Picking, channel: string, except: string[]): Promise<Member | undefined>
  /** The requests of a session that are not settled, in the order of their numbers. */
  requests(session: string): Promise<OpenRequest[]>
  /** Forgets requests. What is never settled is forgotten some minutes after its deadline, or with its requester. */
  settled(requests: Settled[]): Promise<void>
  /** Which of these sessions are not open. */
  absent(sessions: string[]): Promise<string[]>

  put(put: Put): Promise<Written>
  /** A new value for a live leased record, by its owner only. */
  patch(owner: string, key: string, value: RecordValue): Promise<Written>
  drop(drop: {
    owner: string
    subject: string
    key: string
    reason: string
    expect?: number | undefined
  }): Promise<Written>
  /** The count of changes to records. */
  revision(): Promise<number>
  /** All records at some instant not before the call, and a revision not after it. */
  snapshot(): Promise<{ revision: number; records: StoredRecord[] }>

  /**
   * Writes kept records back that were lost because the store was emptied, and makes its revisions follow the one named; how
   * many. Does nothing to a store that was not, and to a record that somebody has written since.
   */
  restore(records: StoredRecord[], revision: number): Promise<number>

  /** Renews this worker's lease, over every connection that it needs; false: it was fenced, and MUST end. */
  renew(): Promise<boolean>
  /** Ends workers that did not renew, and records past their grace; see `lateSweepMs`. Any worker may, at any time. */
  sweep(): Promise<void>
}

/** What the store tells of its own accord; a change may be missed, which shows as a hole in the revisions. */
export interface StoreEvents {
  change(change: RecordChange): void
  /** What an origin put last on channels: all up to there has arrived, or is lost. May come for few of them, or never. */
  tails(tails: Position[]): void
  /** Sessions that left or are lost, on whatever worker. */
  gone(sessions: string[]): void
  /** Sessions that are over: nothing comes on their channels any more. */
  over(sessions: string[]): void
  /** Another worker wants this worker's session: its line must be closed, and the session released. */
  release(session: string): void
  /** A worker ended: MUST come after all that it appended and that is not lost. */
  ended(origin: number): void
  /** From here on things may be lost; `connected` follows when everything subscribed arrives again. */
  interrupted(): void
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
