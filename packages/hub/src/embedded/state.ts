import type { Position } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import type { Asked, Member, Range } from '../bus.ts'
import {
  type Joined,
  lateSweepMs,
  logMs,
  type OpenRequest,
  type Picking,
  type Put,
  type RecordChange,
  type RecordValue,
  type SessionEntry,
  type Settled,
  type StoredRecord,
  type StoreTimes,
  type Taken,
  type Written,
  workerLeaseMs,
} from '../store.ts'
import { AskedRequests } from './asked.ts'
import { Channels } from './channels.ts'
import type { Kept } from './kept.ts'
import { removeFrom } from './lists.ts'
import type { Found } from './log.ts'
import { Logs } from './logs.ts'
import { Records } from './records.ts'
import { lastOf, type NewBatch, type SealedBatch } from './wire.ts'

interface OpenSession {
  origin: number
  subject: string
  /** Without one it cannot be taken over. */
  ticket: string | undefined
  stage: 'live' | 'away' | 'lost'
  /** When the next stage comes, ms of the state's clock. */
  ends: number
  /** Its frames up to this number are settled. */
  done: number
  /** The stamp when it was lost, while it is. */
  lost: number | undefined
  /** Few; a list costs a tenth of a set. */
  channels: string[]
}

/** Where the state brings its news: to one worker, named by its origin. */
export interface Audience {
  batch(to: number, batch: SealedBatch, stamp: number): void
  change(to: number, change: RecordChange): void
  gone(to: number, sessions: string[]): void
  over(to: number, sessions: string[]): void
  release(to: number, session: string): void
  ended(to: number, origin: number): void
}

export interface StateOptions {
  kept: Kept
  audience: Audience
  /** Told when the disk did not take a reservation: after a restart, revisions might be used again. */
  unreserved: (error: unknown) => void
  times: StoreTimes
  /** Monotonic ms. */
  now: () => number
}

/**
 * What Redis is to a hub of many machines, for a hub of one: the primary's memory, kept records on disk.
 * One call is one atomic step, since the primary runs one at a time.
 */
export class EmbeddedState {
  readonly #options: StateOptions
  readonly #workers = new Map<number, { ends: number; channels: Set<string> }>()
  readonly #sessions = new Map<string, OpenSession>()
  readonly #logs: Logs
  readonly #channels = new Channels()
  readonly #records: Records
  readonly #asked = new AskedRequests()
  #origin: number
  #stamp = 0
  /** When the last sweep was. */
  #swept: number

  constructor(options: StateOptions) {
    this.#options = options
    const { kept, times, now, unreserved } = options
    const loaded = kept.load()
    this.#origin = loaded.origin
    this.#logs = new Logs({ ms: logMs(times), bytes: limits.logBytes, allBytes: limits.logsBytes })
    this.#records = new Records({
      kept,
      loaded,
      graceMs: times.graceMs,
      now,
      unreserved,
      isThere: (session) => this.#isThere(session),
      tell: (change) => this.#tell(change),
    })
    this.#swept = now()
  }

  /** A new worker: its number. @throws when the disk does not take it */
  admit(): number {
    this.#options.kept.origin(this.#origin + 1)
    this.#origin++
    this.#workers.set(this.#origin, { ends: this.#options.now() + workerLeaseMs, channels: new Set() })
    this.#logs.open(this.#origin)
    return this.#origin
  }

  /** What the logs hold, bytes. */
  get logBytes(): number {
    return this.#logs.bytes
  }

  has(origin: number): boolean {
    return this.#workers.has(origin)
  }

  renew(origin: number): boolean {
    const worker = this.#workers.get(origin)
    if (worker) worker.ends = this.#options.now() + workerLeaseMs
    return worker !== undefined
  }

  /** The worker is gone: its sessions are away. */
  endWorker(origin: number): void {
    const worker = this.#workers.get(origin)
    if (!worker) return
    this.#workers.delete(origin)
    for (const channel of worker.channels) this.#channels.unsubscribe(channel, origin)
    this.#logs.end(origin, this.#options.now())
    const lost: string[] = []
    for (const [session, entry] of this.#sessions)
      if (entry.origin === origin && entry.stage === 'live') {
        if (entry.ticket === undefined) lost.push(session)
        else this.#stage(entry, 'away')
      }
    this.#lose(lost)
    for (const to of this.#workers.keys()) this.#options.audience.ended(to, origin)
  }

  sweep(): void {
    const now = this.#options.now()
    const since = now - this.#swept
    this.#swept = now
    if (since >= lateSweepMs) {
      for (const worker of this.#workers.values()) worker.ends = Math.min(worker.ends + since, now + workerLeaseMs)
      this.#records.postpone(since)
      for (const entry of this.#sessions.values()) entry.ends += since
      return
    }
    for (const [origin, worker] of this.#workers) if (worker.ends <= now) this.endWorker(origin)
    this.#records.sweep(now)
    const lost: string[] = []
    const over: string[] = []
    for (const [session, { stage, ends }] of this.#sessions)
      if (ends <= now) {
        if (stage === 'away') lost.push(session)
        else if (stage === 'lost') over.push(session)
      }
    this.#lose(lost)
    this.#expire(over)
    this.#asked.sweep(now)
    this.#logs.sweep(now)
  }

  /** Appends, and passes on to who subscribed. An append that comes a second time changes nothing. */
  append(from: number, batches: NewBatch[], freeze: string[], asked: Asked[] = []): Member[][] {
    const log = this.#logs.of(from)
    const before = log?.last ?? 0
    const now = this.#options.now()
    this.#stamp++
    for (const batch of batches) {
      if (lastOf(batch.bytes) <= before) continue
      log?.append(batch, this.#stamp, now)
      for (const origin of this.#channels.subscribersOf(batch.channel))
        if (origin !== from || !batch.fast) this.#options.audience.batch(origin, batch, this.#stamp)
    }
    for (const one of asked) {
      const receivers = one.member ? [one.member] : this.#channels.membersOf(one.channel)
      this.#asked.add(one, receivers, this.#logs.heads([`session/${one.session}`]), now)
    }
    return freeze.map((channel) => this.#channels.membersOf(channel))
  }

  /** The origin keeps no heads of these channels. */
  forget(origin: number, channels: string[]): void {
    const log = this.#logs.of(origin)
    for (const channel of channels) log?.forget(channel)
  }

  read(ranges: Range[], bytes: number): { batches: Found[]; missing: Range[]; rest: Range[] } {
    return this.#logs.read(ranges, bytes)
  }

  heads(channels: string[]): Position[] {
    return this.#logs.heads(channels)
  }

  subscribe(origin: number, channel: string): void {
    this.#workers.get(origin)?.channels.add(channel)
    this.#channels.subscribe(channel, origin)
  }

  unsubscribe(origin: number, channel: string): void {
    this.#workers.get(origin)?.channels.delete(channel)
    this.#channels.unsubscribe(channel, origin)
  }

  openSession(origin: number, { session, subject, ticket, channels }: SessionEntry): Joined {
    this.#sessions.set(session, {
      origin,
      subject,
      ticket,
      stage: 'live',
      ends: Number.POSITIVE_INFINITY,
      done: 0,
      lost: undefined,
      channels: [...channels],
    })
    for (const channel of channels) this.#channels.enter(channel, session, subject)
    return this.#joined([...channels, `session/${session}`])
  }

  join(session: string, channel: string): Joined {
    this.#enter(session, channel)
    return this.#joined([channel])
  }

  leave(session: string, channel: string): void {
    removeFrom(this.#sessions.get(session)?.channels, channel)
    this.#channels.leave(channel, session)
  }

  endSession(session: string, how: 'left' | 'lost'): void {
    const entry = this.#sessions.get(session)
    if (!entry) return
    if (how === 'lost') {
      if (entry.stage !== 'lost') this.#lose([session])
      return
    }
    for (const channel of entry.channels) this.#channels.leave(channel, session)
    this.#records.release(session)
    if (entry.stage !== 'lost') this.#tellAll('gone', [session])
    this.#expire([session])
  }

  release(origin: number, session: string, done: number): void {
    const entry = this.#sessions.get(session)
    if (entry?.origin !== origin || entry.stage !== 'live') return
    entry.done = Math.max(entry.done, done)
    if (entry.ticket === undefined) this.#lose([session])
    else this.#stage(entry, 'away')
  }

  takeOver(origin: number, { session, subject, ticket, channels }: SessionEntry): Taken {
    const entry = this.#sessions.get(session)
    if (entry?.ticket === undefined || entry.ticket !== ticket || entry.subject !== subject)
      return { refused: 'unknown_session' }
    const { origin: owner, lost } = entry
    if (entry.stage === 'live') {
      this.#options.audience.release(owner, session)
      return { refused: 'busy', owner }
    }
    entry.origin = origin
    entry.stage = 'live'
    entry.ends = Number.POSITIVE_INFINITY
    entry.lost = undefined
    for (const channel of entry.channels) if (!channels.includes(channel)) this.#channels.leave(channel, session)
    entry.channels = []
    for (const channel of channels) this.#enter(session, channel)
    const leases = this.#records.revive(session)
    return { ...this.#joined([...channels, `session/${session}`]), done: entry.done, owner, lost, leases }
  }

  pick(channel: string): Member | undefined {
    const members = this.#channels.membersOf(channel)
    return members[Math.floor(Math.random() * members.length)]
  }

  pickFor(request: Picking, channel: string, except: string[]): Member | undefined {
    const members = this.#channels.membersOf(channel).filter(({ session }) => !except.includes(session))
    return this.#asked.pick(request, members, this.#options.now())
  }

  requests(session: string): OpenRequest[] {
    return this.#asked.of(session, this.#options.now())
  }

  settled(requests: Settled[]): void {
    for (const request of requests) this.#asked.settle(request)
  }

  absent(sessions: string[]): string[] {
    return sessions.filter((session) => !this.#isThere(session))
  }

  put(put: Put): Written {
    return this.#records.put(put)
  }

  patch(owner: string, key: string, value: RecordValue): Written {
    return this.#records.patch(owner, key, value)
  }

  drop(drop: { owner: string; subject: string; key: string; reason: string; expect?: number | undefined }): Written {
    return this.#records.drop(drop)
  }

  revision(): number {
    return this.#records.revision
  }

  snapshot(): { revision: number; records: StoredRecord[] } {
    return this.#records.snapshot()
  }

  #isThere(session: string): boolean {
    const entry = this.#sessions.get(session)
    return entry !== undefined && entry.stage !== 'lost'
  }

  #enter(session: string, channel: string): void {
    const open = this.#sessions.get(session)
    if (!open) return
    if (!open.channels.includes(channel)) open.channels.push(channel)
    this.#channels.enter(channel, session, open.subject)
  }

  #joined(channels: string[]): Joined {
    return { stamp: this.#stamp, heads: this.#logs.heads(channels) }
  }

  #stage(entry: OpenSession, stage: 'away' | 'lost'): void {
    const { awayMs, resumeMs } = this.#options.times
    entry.stage = stage
    entry.ends = this.#options.now() + (stage === 'away' ? awayMs : resumeMs)
  }

  #lose(sessions: string[]): void {
    const over: string[] = []
    for (const session of sessions) {
      const entry = this.#sessions.get(session)
      if (!entry) continue
      this.#stage(entry, 'lost')
      entry.lost = this.#stamp
      if (entry.ticket === undefined) over.push(session)
      for (const channel of entry.channels) this.#channels.leave(channel, session)
      this.#records.suspect(session)
    }
    this.#tellAll('gone', sessions)
    for (const session of over) this.#sessions.delete(session)
    this.#close(over)
  }

  /** What could still be taken over is no more. */
  #expire(sessions: string[]): void {
    for (const session of sessions) {
      this.#records.expire(session, `service/${this.#sessions.get(session)?.subject}/${session}`)
      this.#sessions.delete(session)
    }
    this.#close(sessions)
  }

  #close(sessions: string[]): void {
    for (const session of sessions) this.#asked.end(session)
    for (const session of sessions) this.#logs.close(`session/${session}`)
    this.#tellAll('over', sessions)
  }

  #tell(change: RecordChange): void {
    for (const origin of this.#workers.keys()) this.#options.audience.change(origin, change)
  }

  #tellAll(what: 'gone' | 'over', sessions: string[]): void {
    if (sessions.length === 0) return
    for (const origin of this.#workers.keys()) this.#options.audience[what](origin, sessions)
  }
}
