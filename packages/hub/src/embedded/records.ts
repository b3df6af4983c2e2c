import type { ErrorCode } from '@damon/protocol/errors'
import type { Put, RecordChange, RecordValue, StoredRecord, Written } from '../store.ts'
import type { Kept, KeptRecord } from './kept.ts'
import { removeFrom } from './lists.ts'

interface Owned extends StoredRecord {
  owner: string
  subject: string
  /** When a suspect record goes, ms of the state's clock. */
  ends: number
}

/** What records need of the state around them. */
export interface RecordsOptions {
  kept: Kept
  /** What was on disk. */
  loaded: { revision: number; records: KeptRecord[] }
  /** How long a suspect record waits for its owner, ms. */
  graceMs: number
  /** Monotonic ms. */
  now: () => number
  /** Told every change. */
  tell: (change: RecordChange) => void
  /** Whether a session may own a lease. */
  isThere: (session: string) => boolean
  /** Told when the disk did not take a reservation: after a restart, revisions might be used again. */
  unreserved: (error: unknown) => void
}

/** Revisions reserved on disk at a time; a restart skips what is left of the block. */
const revisionBlock = 4096

/** All records: leased ones in memory, kept ones on disk as well. */
export class Records {
  readonly #options: RecordsOptions
  readonly #records = new Map<string, Owned>()
  /** Per session, the keys of what it leased: few. */
  readonly #leases = new Map<string, string[]>()
  /** Per subject, how many kept records it has. */
  readonly #keptBy = new Map<string, number>()
  #revision: number
  /** Revisions up to this one were told to the disk, so that none is used twice. */
  #reserved: number

  constructor(options: RecordsOptions) {
    this.#options = options
    const { revision, records } = options.loaded
    this.#revision = revision
    this.#reserved = revision
    for (const record of records) {
      this.#records.set(record.key, { ...record, owner: '', ends: Number.POSITIVE_INFINITY })
      this.#countKept(record, 1)
    }
  }

  get revision(): number {
    return this.#revision
  }

  snapshot(): { revision: number; records: StoredRecord[] } {
    return { revision: this.#revision, records: [...this.#records.values()].map(plain) }
  }

  put(put: Put): Written {
    const old = this.#records.get(put.key)
    const refused = refusal(old, put)
    if (refused) return { refused }
    if (put.leased && !this.#options.isThere(put.owner)) return { refused: 'disconnected' }
    const has = old && !old.leased && old.subject === put.subject
    if (!put.leased && !has && (this.#keptBy.get(put.subject) ?? 0) >= (put.most ?? Number.POSITIVE_INFINITY))
      return { refused: 'limit_reached' }
    const revision = this.#nextRevision()
    const same = old?.leased === true && put.leased && old.owner === put.owner
    const record: Owned = {
      key: put.key,
      value: put.value,
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
    if (old) this.#endLease(old)
    if (record.leased) this.#leases.set(put.owner, [...(this.#leases.get(put.owner) ?? []), put.key])
    this.#records.set(put.key, record)
    this.#options.tell({ change: 'put', record: plain(record) })
    return { revision, generation: record.generation }
  }

  patch(owner: string, key: string, value: RecordValue): Written {
    const record = this.#records.get(key)
    if (!record) return { refused: 'not_found' }
    if (!record.leased || record.owner !== owner || record.state !== 'live') return { refused: 'not_owner' }
    record.value = value
    record.revision = this.#nextRevision()
    this.#options.tell({ change: 'put', record: plain(record) })
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

  /** Their owner is lost: what it leased waits for it. */
  suspect(session: string): void {
    for (const record of this.#leasesOf(session)) {
      record.state = 'suspect'
      record.revision = this.#nextRevision()
      record.ends = this.#options.now() + this.#options.graceMs
      this.#options.tell({ change: 'suspect', record: plain(record) })
    }
  }

  /** It is back. Answers with the keys of what it leased. */
  revive(session: string): string[] {
    const owned = this.#leasesOf(session)
    for (const record of owned) {
      if (record.state === 'live') continue
      record.state = 'live'
      record.revision = this.#nextRevision()
      record.ends = Number.POSITIVE_INFINITY
      this.#options.tell({ change: 'put', record: plain(record) })
    }
    return owned.map(({ key }) => key)
  }

  /** It has left: so does what it leased. */
  release(session: string): void {
    for (const record of this.#leasesOf(session)) this.#remove(record, 'released')
  }

  /** It can no longer come back: one record of it goes, if it still owns that. */
  expire(session: string, key: string): void {
    const record = this.#records.get(key)
    if (record?.owner === session) this.#remove(record, 'expired')
  }

  /** Whoever has waited long enough goes. */
  sweep(now: number): void {
    for (const record of this.#records.values())
      if (record.state === 'suspect' && record.ends <= now) this.#remove(record, 'expired')
  }

  /** All who wait were not served for that long, ms: it does not count. */
  postpone(ms: number): void {
    const latest = this.#options.now() + this.#options.graceMs
    for (const record of this.#records.values())
      if (record.state === 'suspect') record.ends = Math.min(record.ends + ms, latest)
  }

  #leasesOf(session: string): Owned[] {
    return (this.#leases.get(session) ?? []).flatMap((key) => {
      const record = this.#records.get(key)
      return record?.owner === session ? [record] : []
    })
  }

  #endLease({ key, owner }: Owned): void {
    const keys = this.#leases.get(owner)
    removeFrom(keys, key)
    if (keys?.length === 0) this.#leases.delete(owner)
  }

  #remove(record: Owned, reason: string): number {
    const revision = this.#nextRevision()
    if (!record.leased) this.#options.kept.drop(record.key)
    this.#records.delete(record.key)
    this.#countKept(record, -1)
    this.#endLease(record)
    this.#options.tell({ change: 'drop', key: record.key, revision, reason })
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
