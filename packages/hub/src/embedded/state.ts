import type { ErrorCode } from '@damon/protocol/errors'
import type { Position } from '@damon/protocol/frames'
import type { Asked, Member, Range } from '../bus.ts'
import {
  type Joined,
  lateSweepMs,
  logBytes,
  logMs,
  type OpenRequest,
  type Picking,
  type Put,
  type RecordChange,
  type SessionEntry,
  type Settled,
  type StoredRecord,
  type StoreTimes,
  type Taken,
  type Written,
  workerLeaseMs,
} from '../store.ts'
import { AskedRequests } from './asked.ts'
import type { Kept } from './kept.ts'
import { type Found, OriginLog } from './log.ts'
import type { SealedBatch } from './wire.ts'

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
  leases: string[]
}

interface Owned extends StoredRecord {
  owner: string
  subject: string
  /** When a suspect record goes, ms of the state's clock. */
  ends: number
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

/** Revisions reserved on disk at a time; a restart skips what is left of the block. */
const revisionBlock = 4096

/**
 * What Redis is to a hub of many machines, for a hub of one: the primary's memory, kept records on disk.
 * One call is one atomic step, since the primary runs one at a time.
 */
export class EmbeddedState {
  readonly #options: StateOptions
  readonly #workers = new Map<number, { ends: number; channels: Set<string> }>()
  /** Of workers that live, and of those that ended until their log is too old for anyone; then `ends` says when. */
  readonly #logs = new Map<number, { log: OriginLog; ends: number }>()
  readonly #sessions = new Map<string, OpenSession>()
  readonly #members = new Map<string, Map<string, string>>()
  /** Per channel, the workers: few, and for most channels one. */
  readonly #subscribers = new Map<string, number[]>()
  readonly #records = new Map<string, Owned>()
  readonly #asked = new AskedRequests()
  /** Per subject, how many kept records it has. */
  readonly #keptBy = new Map<string, number>()
  #origin: number
  #revision: number
  /** Revisions up to this one were told to the disk, so that none is used twice. */
  #reserved: number
  #stamp = 0
  /** When the last sweep was. */
  #swept: number

  constructor(options: StateOptions) {
    this.#options = options
    const loaded = options.kept.load()
    this.#origin = loaded.origin
    this.#revision = loaded.revision
    this.#reserved = loaded.revision
    this.#swept = options.now()
    for (const record of loaded.records) {
      this.#records.set(record.key, { ...record, owner: '', ends: Number.POSITIVE_INFINITY })
      this.#countKept(record, 1)
    }
  }

  /** A new worker: its number. @throws when the disk does not take it */
  admit(): number {
    this.#options.kept.origin(this.#origin + 1)
    this.#origin++
    this.#workers.set(this.#origin, { ends: this.#options.now() + workerLeaseMs, channels: new Set() })
    const log = new OriginLog({ ms: logMs(this.#options.times), bytes: logBytes })
    this.#logs.set(this.#origin, { log, ends: Number.POSITIVE_INFINITY })
    return this.#origin
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
    const now = this.#options.now()
    this.#workers.delete(origin)
    for (const channel of worker.channels) this.#desert(channel, origin)
    const kept = this.#logs.get(origin)
    if (kept) kept.ends = now + logMs(this.#options.times)
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
      for (const record of this.#records.values())
        if (record.state === 'suspect') record.ends = Math.min(record.ends + since, now + this.#options.times.graceMs)
      for (const entry of this.#sessions.values()) entry.ends += since
      return
    }
    for (const [origin, worker] of this.#workers) if (worker.ends <= now) this.endWorker(origin)
    for (const record of this.#records.values())
      if (record.state === 'suspect' && record.ends <= now) this.#remove(record, 'expired')
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
    for (const [origin, { log, ends }] of this.#logs) {
      if (ends <= now) this.#logs.delete(origin)
      else log.trim(now)
    }
  }

  /** Appends, and passes on to who subscribed. An append that comes a second time changes nothing. */
  append(from: number, batches: SealedBatch[], freeze: string[], asked: Asked[] = []): Member[][] {
    const log = this.#logs.get(from)?.log
    const before = log?.last ?? 0
    const now = this.#options.now()
    this.#stamp++
    for (const batch of batches) {
      if (batch.bytes.readUIntBE(16, 6) <= before) continue
      log?.append(batch, this.#stamp, now)
      for (const origin of this.#subscribers.get(batch.channel) ?? [])
        if (origin !== from || !batch.fast) this.#options.audience.batch(origin, batch, this.#stamp)
    }
    for (const one of asked) {
      const receivers = one.member ? [one.member] : this.#membersOf(one.channel)
      this.#asked.add(one, receivers, this.#joined([`session/${one.session}`]).heads, now)
    }
    return freeze.map((channel) => this.#membersOf(channel))
  }

  /** The origin keeps no heads of these channels. */
  forget(origin: number, channels: string[]): void {
    const log = this.#logs.get(origin)?.log
    for (const channel of channels) log?.forget(channel)
  }

  /** What the logs hold of these ranges, in order, up to so many bytes, and where to read on. */
  read(ranges: Range[], bytes: number): { batches: Found[]; missing: Range[]; rest: Range[] } {
    const found: (Found & { range: Range; first: number; last: number })[] = []
    const missing: Range[] = []
    for (const range of ranges) {
      const kept = this.#logs.get(range.origin)
      if (!kept) {
        missing.push(range)
        continue
      }
      const read = kept.log.read(range)
      if (read.missing) missing.push(read.missing)
      const after = read.missing ? { ...range, from: read.missing.until + 1 } : range
      for (const one of read.batches) {
        const { bytes } = one.batch
        found.push({ ...one, range: after, first: bytes.readUIntBE(10, 6), last: bytes.readUIntBE(16, 6) })
      }
    }
    // The batches of one append are of one stamp, and in the order of their first numbers.
    found.sort((a, b) => a.stamp - b.stamp || a.first - b.first)
    let size = 0
    const cut = found.findIndex((one, i) => {
      size += one.batch.bytes.length
      return size > bytes && i > 0
    })
    const batches = cut < 0 ? found : found.slice(0, cut)
    const rest = new Map<Range, Range>()
    if (cut >= 0) for (const { range } of found.slice(cut)) rest.set(range, { ...range })
    for (const { range, last } of batches) {
      const open = rest.get(range)
      if (open) open.from = Math.max(open.from, last + 1)
    }
    return { batches: batches.map(({ batch, stamp }) => ({ batch, stamp })), missing, rest: [...rest.values()] }
  }

  heads(channels: string[]): Position[] {
    return this.#joined(channels).heads
  }

  subscribe(origin: number, channel: string): void {
    this.#workers.get(origin)?.channels.add(channel)
    const workers = this.#subscribers.get(channel)
    if (!workers) this.#subscribers.set(channel, [origin])
    else if (!workers.includes(origin)) workers.push(origin)
  }

  unsubscribe(origin: number, channel: string): void {
    this.#workers.get(origin)?.channels.delete(channel)
    this.#desert(channel, origin)
  }

  openSession(origin: number, { session, subject, ticket, channels }: SessionEntry): Joined {
    const open = { origin, subject, ticket, stage: 'live', ends: Number.POSITIVE_INFINITY, done: 0 } as const
    this.#sessions.set(session, { ...open, lost: undefined, channels: [], leases: [] })
    for (const channel of channels) this.#enter(session, channel)
    return this.#joined([...channels, `session/${session}`])
  }

  join(session: string, channel: string): Joined {
    this.#enter(session, channel)
    return this.#joined([channel])
  }

  leave(session: string, channel: string): void {
    remove(this.#sessions.get(session)?.channels, channel)
    this.#forget(this.#members, channel, session)
  }

  endSession(session: string, how: 'left' | 'lost'): void {
    const entry = this.#sessions.get(session)
    if (!entry) return
    if (how === 'lost') {
      if (entry.stage !== 'lost') this.#lose([session])
      return
    }
    for (const channel of entry.channels) this.#forget(this.#members, channel, session)
    for (const record of this.#leasesOf(session)) this.#remove(record, 'released')
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
    for (const channel of entry.channels) if (!channels.includes(channel)) this.#forget(this.#members, channel, session)
    entry.channels = []
    for (const channel of channels) this.#enter(session, channel)
    for (const record of this.#leasesOf(session)) {
      if (record.state === 'live') continue
      record.state = 'live'
      record.revision = this.#nextRevision()
      record.ends = Number.POSITIVE_INFINITY
      this.#tell({ change: 'put', record: plain(record) })
    }
    return { ...this.#joined([...channels, `session/${session}`]), done: entry.done, owner, lost }
  }

  pick(channel: string): Member | undefined {
    const members = this.#membersOf(channel)
    return members[Math.floor(Math.random() * members.length)]
  }

  pickFor(request: Picking, channel: string, except: string[]): Member | undefined {
    const members = this.#membersOf(channel).filter(({ session }) => !except.includes(session))
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
    const old = this.#records.get(put.key)
    const refused = refusal(old, put)
    if (refused) return { refused }
    if (put.leased && !this.#isThere(put.owner)) return { refused: 'disconnected' }
    const has = old && !old.leased && old.subject === put.subject
    if (!put.leased && !has && (this.#keptBy.get(put.subject) ?? 0) >= (put.most ?? Number.POSITIVE_INFINITY))
      return { refused: 'limit_reached' }
    const revision = this.#nextRevision()
    const same = old?.leased === true && put.leased && old.owner === put.owner
    const record: Owned = {
      key: put.key,
      // A view on what the socket brought would keep all of that.
      value: Buffer.from(put.value),
      revision,
      generation: same || (old && !old.leased && !put.leased) ? old.generation : revision,
      leased: put.leased,
      state: 'live',
      owner: put.leased ? put.owner : '',
      subject: put.subject,
      ends: Number.POSITIVE_INFINITY,
    }
    if (!record.leased) this.#options.kept.put(record)
    else if (old && !old.leased) this.#options.kept.drop(put.key)
    if (old) this.#countKept(old, -1)
    this.#countKept(record, 1)
    if (old) remove(this.#sessions.get(old.owner)?.leases, put.key)
    if (record.leased) this.#sessions.get(put.owner)?.leases.push(put.key)
    this.#records.set(put.key, record)
    this.#tell({ change: 'put', record: plain(record) })
    return { revision, generation: record.generation }
  }

  patch(owner: string, key: string, value: Buffer): Written {
    const record = this.#records.get(key)
    if (!record) return { refused: 'not_found' }
    if (!record.leased || record.owner !== owner || record.state !== 'live') return { refused: 'not_owner' }
    record.value = Buffer.from(value)
    record.revision = this.#nextRevision()
    this.#tell({ change: 'put', record: plain(record) })
    return { revision: record.revision, generation: record.generation }
  }

  drop(drop: { owner: string; subject: string; key: string; reason: string; expect?: number | undefined }): Written {
    const record = this.#records.get(drop.key)
    if (!record) return { refused: 'not_found' }
    if (drop.expect !== undefined && drop.expect !== record.revision) return { refused: 'conflict' }
    if (record.leased && record.state === 'live' && record.owner !== drop.owner && record.subject !== drop.subject)
      return { refused: 'not_owner' }
    const { generation } = record
    return { revision: this.#remove(record, drop.reason), generation }
  }

  revision(): number {
    return this.#revision
  }

  snapshot(): { revision: number; records: StoredRecord[] } {
    return { revision: this.#revision, records: [...this.#records.values()].map(plain) }
  }

  #isThere(session: string): boolean {
    const entry = this.#sessions.get(session)
    return entry !== undefined && entry.stage !== 'lost'
  }

  #enter(session: string, channel: string): void {
    const open = this.#sessions.get(session)
    if (!open) return
    if (!open.channels.includes(channel)) open.channels.push(channel)
    const members = this.#members.get(channel) ?? new Map<string, string>()
    this.#members.set(channel, members.set(session, open.subject))
  }

  #joined(channels: string[]): Joined {
    const heads: Position[] = []
    for (const [origin, { log }] of this.#logs)
      for (const to of channels) {
        const seq = log.head(to)
        if (seq > 0) heads.push({ origin, to, seq })
      }
    return { stamp: this.#stamp, heads }
  }

  #stage(entry: OpenSession, stage: 'away' | 'lost'): void {
    const { awayMs, resumeMs } = this.#options.times
    entry.stage = stage
    entry.ends = this.#options.now() + (stage === 'away' ? awayMs : resumeMs)
  }

  #leasesOf(session: string): Owned[] {
    const keys = this.#sessions.get(session)?.leases ?? []
    return keys.flatMap((key) => {
      const record = this.#records.get(key)
      return record?.owner === session ? [record] : []
    })
  }

  #lose(sessions: string[]): void {
    const over: string[] = []
    for (const session of sessions) {
      const entry = this.#sessions.get(session)
      if (!entry) continue
      this.#stage(entry, 'lost')
      entry.lost = this.#stamp
      if (entry.ticket === undefined) over.push(session)
      for (const channel of entry.channels) this.#forget(this.#members, channel, session)
      for (const record of this.#leasesOf(session)) {
        record.state = 'suspect'
        record.revision = this.#nextRevision()
        record.ends = this.#options.now() + this.#options.times.graceMs
        this.#tell({ change: 'suspect', record: plain(record) })
      }
    }
    this.#tellAll('gone', sessions)
    for (const session of over) this.#sessions.delete(session)
    this.#close(over)
  }

  /** What could still be taken over is no more. */
  #expire(sessions: string[]): void {
    for (const session of sessions) {
      const key = `service/${this.#sessions.get(session)?.subject}/${session}`
      const record = this.#records.get(key)
      if (record?.owner === session) this.#remove(record, 'expired')
      this.#sessions.delete(session)
    }
    this.#close(sessions)
  }

  #close(sessions: string[]): void {
    for (const session of sessions) this.#asked.end(session)
    for (const { log } of this.#logs.values()) for (const session of sessions) log.close(`session/${session}`)
    this.#tellAll('over', sessions)
  }

  #remove(record: Owned, reason: string): number {
    const revision = this.#nextRevision()
    if (!record.leased) this.#options.kept.drop(record.key)
    this.#records.delete(record.key)
    this.#countKept(record, -1)
    remove(this.#sessions.get(record.owner)?.leases, record.key)
    this.#tell({ change: 'drop', key: record.key, revision, reason })
    return revision
  }

  #countKept({ leased, subject }: { leased: boolean; subject: string }, by: 1 | -1): void {
    if (leased) return
    const count = (this.#keptBy.get(subject) ?? 0) + by
    if (count > 0) this.#keptBy.set(subject, count)
    else this.#keptBy.delete(subject)
  }

  #nextRevision(): number {
    this.#revision++
    if (this.#revision > this.#reserved) this.#reserve(this.#revision + revisionBlock)
    return this.#revision
  }

  /** A full disk must not keep leases from ending: it is tried again with the next change. */
  #reserve(revision: number): void {
    try {
      this.#options.kept.reserve(revision)
      this.#reserved = revision
    } catch (error) {
      this.#options.unreserved(error)
    }
  }

  #membersOf(channel: string): Member[] {
    return [...(this.#members.get(channel) ?? [])].map(([session, subject]) => ({ session, subject }))
  }

  #desert(channel: string, origin: number): void {
    const workers = this.#subscribers.get(channel)
    remove(workers, origin)
    if (workers?.length === 0) this.#subscribers.delete(channel)
  }

  #forget<T>(table: Map<string, Map<T, unknown>>, name: string, item: T): void {
    const set = table.get(name)
    set?.delete(item)
    if (set?.size === 0) table.delete(name)
  }

  #tell(change: RecordChange): void {
    for (const origin of this.#workers.keys()) this.#options.audience.change(origin, change)
  }

  #tellAll(what: 'gone' | 'over', sessions: string[]): void {
    if (sessions.length === 0) return
    for (const origin of this.#workers.keys()) this.#options.audience[what](origin, sessions)
  }
}

function remove<T>(list: T[] | undefined, item: T): void {
  const at = list?.indexOf(item) ?? -1
  if (at >= 0) list?.splice(at, 1)
}

function plain(record: Owned): StoredRecord {
  const { owner, subject, ends, ...stored } = record
  return stored
}

/** Why a write must not happen, or undefined. */
function refusal(old: Owned | undefined, put: Put): ErrorCode | undefined {
  if (put.expect !== undefined && put.expect !== (old?.revision ?? 0)) return 'conflict'
  if (!old) return undefined
  const own = old.leased && old.owner === put.owner
  if (put.generation !== undefined && old.generation > put.generation && !own) return 'conflict'
  const held = old.leased && old.state === 'live' && old.owner !== put.owner && old.subject !== put.subject
  return held ? 'not_owner' : undefined
}
