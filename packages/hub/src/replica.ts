import { limits } from '@damon/protocol/limits'
import { isUnder } from '@damon/protocol/names'
import type { Logger } from '@damon/runtime/logger'
import type { Metrics } from './metrics.ts'
import { RecordHistory } from './record-history.ts'
import type { RecordChange, Store, StoredRecord } from './store.ts'

/** How long a write waits until this worker's copy has it, ms. */
const reachMs = 1_000

/** How long a change that the store has may take until it is here, ms. */
const lateMs = 500

/** A change of the copy, with what was there before; all changes up to `revision` have been told then. */
export type ReplicaListener = (change: RecordChange, before: StoredRecord | undefined, revision: number) => void

/**
 * This worker's copy of all records, changed in the order of revisions. A hole in them means that a change was missed:
 * the copy is then read anew, and what differs is told as changes.
 */
export class Replica {
  readonly #log: Logger
  readonly #metrics: Metrics
  readonly #records = new Map<string, StoredRecord>()
  readonly #history: RecordHistory
  readonly #listeners = new Set<ReplicaListener>()
  readonly #waiters = new Set<{ revision: number; resolve: () => void }>()
  #store: Pick<Store, 'snapshot'> | undefined
  #revision = 0
  /** While the records are read: the changes that came meanwhile. */
  #behind: RecordChange[] | undefined = []
  #isNew = true
  /** What is being read may be old already. */
  #again = false
  #retry: NodeJS.Timeout | undefined

  /** `history`: how many changes it remembers at least. */
  constructor(options: { log: Logger; metrics: Metrics; history?: number }) {
    this.#log = options.log
    this.#metrics = options.metrics
    this.#history = new RecordHistory(options.history ?? limits.recordHistory)
  }

  get revision(): number {
    return this.#revision
  }

  get size(): number {
    return this.#records.size
  }

  get(key: string): StoredRecord | undefined {
    return this.#records.get(key)
  }

  list(prefix: string): StoredRecord[] {
    if (prefix === '') return [...this.#records.values()]
    if (!prefix.endsWith('/')) {
      const record = this.#records.get(prefix)
      return record ? [record] : []
    }
    const records: StoredRecord[] = []
    for (const record of this.#records.values()) if (isUnder(prefix, record.key)) records.push(record)
    return records
  }

  /**
   * What changed under a prefix after a revision, of each record only what it is now; undefined when that is not known
   * any more, or not yet.
   */
  since(prefix: string, revision: number): RecordChange[] | undefined {
    if (revision > this.#revision) return undefined
    const fates = this.#history.since(revision)
    if (!fates) return undefined
    const changes: RecordChange[] = []
    for (const [key, { revision, reason = 'dropped' }] of fates) {
      if (!isUnder(prefix, key)) continue
      const record = this.#records.get(key)
      if (record) changes.push({ change: record.state === 'suspect' ? 'suspect' : 'put', record })
      else changes.push({ change: 'drop', key, revision, reason })
    }
    return changes
  }

  onChange(listener: ReplicaListener): void {
    this.#listeners.add(listener)
  }

  /** Reads everything for the first time. Rejects when the store cannot be reached. */
  async start(store: Pick<Store, 'snapshot'>): Promise<void> {
    this.#store = store
    await this.#read()
  }

  /** The connection to the store was lost for a while: changes may be missing at the end, where no hole shows. */
  resync(): void {
    if (!this.#store) return
    if (this.#behind) this.#again = true
    else this.#fallBehind([])
  }

  /** A change as the store tells it. */
  take(change: RecordChange): void {
    if (this.#behind) {
      this.#behind.push(change)
      return
    }
    const revision = revisionOf(change)
    if (revision <= this.#revision) return
    if (revision > this.#revision + 1) {
      this.#log.warn({ have: this.#revision, got: revision }, 'changes of records were missed: reading them anew')
      this.#fallBehind([change])
      return
    }
    this.#apply(change, revision)
  }

  /** What the store counts now. A copy that does not get there soon has missed the latest changes, where no hole shows. */
  async compare(revision: number): Promise<void> {
    await this.reached(revision, lateMs)
    if (!this.#store || this.#behind || revision <= this.#revision) return
    this.#log.warn({ have: this.#revision, store: revision }, 'the latest changes of records were missed')
    this.#fallBehind([])
  }

  /** Resolves when this copy has the revision, or after that time: then the store has it and this copy will. */
  async reached(revision: number, ms = reachMs): Promise<void> {
    if (revision <= this.#revision) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const waiter = { revision, resolve }
    const timer = setTimeout(resolve, ms)
    this.#waiters.add(waiter)
    await promise
    clearTimeout(timer)
    this.#waiters.delete(waiter)
  }

  stop(): void {
    clearTimeout(this.#retry)
    this.#store = undefined
  }

  #fallBehind(changes: RecordChange[]): void {
    this.#metrics.resyncs.inc()
    this.#behind = changes
    this.#readUntilDone()
  }

  #readUntilDone(): void {
    this.#read().catch((error) => {
      this.#log.warn({ err: error }, 'the records cannot be read now, trying again')
      this.#retry = setTimeout(() => this.#readUntilDone(), 500)
    })
  }

  async #read(): Promise<void> {
    if (!this.#store) return
    const { revision, records } = await this.#store.snapshot()
    // A store that was emptied begins to count anew.
    if (revision < this.#revision) this.#history.begin(revision)
    const fresh = new Map(records.map((record) => [record.key, record]))
    for (const key of [...this.#records.keys()])
      if (!fresh.has(key)) this.#apply({ change: 'drop', key, revision, reason: 'missed' }, revision)
    for (const record of records)
      if (this.#records.get(record.key)?.revision !== record.revision)
        this.#apply({ change: record.state === 'suspect' ? 'suspect' : 'put', record }, revision)
    if (this.#isNew) this.#history.begin(revision)
    this.#isNew = false
    this.#advance(revision)
    const behind = this.#behind ?? []
    this.#behind = undefined
    for (const change of behind) this.take(change)
    const again = this.#again
    this.#again = false
    if (again) this.resync()
  }

  #apply(change: RecordChange, revision: number): void {
    const key = change.change === 'drop' ? change.key : change.record.key
    const before = this.#records.get(key)
    if (change.change === 'drop') this.#records.delete(key)
    else this.#records.set(key, change.record)
    this.#history.add(change.change === 'drop' ? { key, revision, reason: change.reason } : { key, revision })
    this.#metrics.records.set(this.#records.size)
    // While the copy is read anew, not all up to the new revision is told before the last of it is.
    if (!this.#behind) this.#advance(revision)
    for (const listener of this.#listeners) listener(change, before, this.#revision)
  }

  #advance(revision: number): void {
    this.#revision = revision
    for (const waiter of this.#waiters) if (waiter.revision <= revision) waiter.resolve()
  }
}

function revisionOf(change: RecordChange): number {
  return change.change === 'drop' ? change.revision : change.record.revision
}
