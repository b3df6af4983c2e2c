import type { ErrorCode } from '@damon/protocol/errors'
import type { Member } from '../bus.ts'
import {
  lateSweepMs,
  type Put,
  type RecordChange,
  type SessionEntry,
  type StoredRecord,
  type Written,
  workerLeaseMs,
} from '../store.ts'
import type { Kept } from './kept.ts'
import type { SealedBatch } from './wire.ts'

interface OpenSession {
  origin: number
  subject: string
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
  ended(to: number, origin: number): void
}

export interface StateOptions {
  kept: Kept
  audience: Audience
  /** Told when the disk did not take a reservation: after a restart, revisions might be used again. */
  unreserved: (error: unknown) => void
  graceMs: number
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
  readonly #sessions = new Map<string, OpenSession>()
  readonly #members = new Map<string, Map<string, string>>()
  /** Per channel, the workers: few, and for most channels one. */
  readonly #subscribers = new Map<string, number[]>()
  readonly #records = new Map<string, Owned>()
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
    for (const record of loaded.records)
      this.#records.set(record.key, { ...record, owner: '', subject: '', ends: Number.POSITIVE_INFINITY })
  }

  /** A new worker: its number. @throws when the disk does not take it */
  admit(): number {
    this.#options.kept.origin(this.#origin + 1)
    this.#origin++
    this.#workers.set(this.#origin, { ends: this.#options.now() + workerLeaseMs, channels: new Set() })
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

  /** The worker is gone: so are its sessions. */
  endWorker(origin: number): void {
    const worker = this.#workers.get(origin)
    if (!worker) return
    this.#workers.delete(origin)
    for (const channel of worker.channels) this.#desert(channel, origin)
    const lost = [...this.#sessions].filter(([, entry]) => entry.origin === origin).map(([session]) => session)
    for (const session of lost) this.#end(session, 'lost')
    this.#tellGone(lost)
    for (const to of this.#workers.keys()) this.#options.audience.ended(to, origin)
  }

  sweep(): void {
    const now = this.#options.now()
    const since = now - this.#swept
    this.#swept = now
    if (since >= lateSweepMs) {
      for (const worker of this.#workers.values()) worker.ends = Math.min(worker.ends + since, now + workerLeaseMs)
      for (const record of this.#records.values())
        if (record.state === 'suspect') record.ends = Math.min(record.ends + since, now + this.#options.graceMs)
      return
    }
    for (const [origin, worker] of this.#workers) if (worker.ends <= now) this.endWorker(origin)
    for (const record of this.#records.values())
      if (record.state === 'suspect' && record.ends <= now) this.#remove(record, 'expired')
  }

  append(from: number, batches: SealedBatch[], freeze: string[]): Member[][] {
    this.#stamp++
    for (const batch of batches)
      for (const origin of this.#subscribers.get(batch.channel) ?? [])
        if (origin !== from || !batch.fast) this.#options.audience.batch(origin, batch, this.#stamp)
    return freeze.map((channel) => this.#membersOf(channel))
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

  openSession(origin: number, entry: SessionEntry): number {
    this.#sessions.set(entry.session, { origin, subject: entry.subject, channels: [], leases: [] })
    for (const channel of entry.channels) this.join(entry.session, channel)
    return this.#stamp
  }

  join(session: string, channel: string): number {
    const open = this.#sessions.get(session)
    if (open) {
      if (!open.channels.includes(channel)) open.channels.push(channel)
      const members = this.#members.get(channel) ?? new Map<string, string>()
      this.#members.set(channel, members.set(session, open.subject))
    }
    return this.#stamp
  }

  leave(session: string, channel: string): void {
    remove(this.#sessions.get(session)?.channels, channel)
    this.#forget(this.#members, channel, session)
  }

  endSession(session: string, how: 'left' | 'lost'): void {
    if (this.#end(session, how)) this.#tellGone([session])
  }

  pick(channel: string): Member | undefined {
    const members = this.#membersOf(channel)
    return members[Math.floor(Math.random() * members.length)]
  }

  absent(sessions: string[]): string[] {
    return sessions.filter((session) => !this.#sessions.has(session))
  }

  put(put: Put): Written {
    const old = this.#records.get(put.key)
    const refused = refusal(old, put)
    if (refused) return { refused }
    if (put.leased && !this.#sessions.has(put.owner)) return { refused: 'disconnected' }
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

  snapshot(): { revision: number; records: StoredRecord[] } {
    return { revision: this.#revision, records: [...this.#records.values()].map(plain) }
  }

  #end(session: string, how: 'left' | 'lost'): boolean {
    const open = this.#sessions.get(session)
    if (!open) return false
    this.#sessions.delete(session)
    for (const channel of open.channels) this.#forget(this.#members, channel, session)
    for (const key of [...open.leases]) {
      const record = this.#records.get(key)
      if (!record || record.owner !== session) continue
      if (how === 'left') {
        this.#remove(record, 'released')
        continue
      }
      record.state = 'suspect'
      record.revision = this.#nextRevision()
      record.ends = this.#options.now() + this.#options.graceMs
      this.#tell({ change: 'suspect', record: plain(record) })
    }
    return true
  }

  #remove(record: Owned, reason: string): number {
    const revision = this.#nextRevision()
    if (!record.leased) this.#options.kept.drop(record.key)
    this.#records.delete(record.key)
    remove(this.#sessions.get(record.owner)?.leases, record.key)
    this.#tell({ change: 'drop', key: record.key, revision, reason })
    return revision
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

  #tellGone(sessions: string[]): void {
    if (sessions.length === 0) return
    for (const origin of this.#workers.keys()) this.#options.audience.gone(origin, sessions)
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
  if (put.generation !== undefined && old.generation > put.generation) return 'conflict'
  const held = old.leased && old.state === 'live' && old.owner !== put.owner && old.subject !== put.subject
  return held ? 'not_owner' : undefined
}
