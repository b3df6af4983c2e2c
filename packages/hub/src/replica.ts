import { isUnder } from '@damon/protocol/names'
import type { Logger } from '@damon/runtime/logger'
import type { Metrics } from './metrics.ts'
import type { RecordChange, Store, StoredRecord } from './store.ts'

/** How long a write waits until this worker's copy has it, ms. */
const reachMs = 1_000

/**
 * This worker's copy of all records, changed in the order of revisions. A hole in them means that a change was missed:
 * the copy is then read anew, and what differs is told as changes.
 */
export class Replica {
  readonly #log: Logger
  readonly #metrics: Metrics
  readonly #records = new Map<string, StoredRecord>()
  readonly #listeners = new Set<(change: RecordChange) => void>()
  readonly #waiters = new Set<{ revision: number; resolve: () => void }>()
  #store: Pick<Store, 'snapshot'> | undefined
  #revision = 0
  /** While the records are read: the changes that came meanwhile. */
  #behind: RecordChange[] | undefined = []
  /** What is being read may be old already. */
  #again = false
  #retry: NodeJS.Timeout | undefined

  constructor(options: { log: Logger; metrics: Metrics }) {
    this.#log = options.log
    this.#metrics = options.metrics
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
    const records = [...this.#records.values()]
    return prefix === '' ? records : records.filter(({ key }) => isUnder(prefix, key))
  }

  onChange(listener: (change: RecordChange) => void): void {
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

  /** Resolves when this copy has the revision, or a second later: then the store has it and this copy will. */
  async reached(revision: number): Promise<void> {
    if (revision <= this.#revision) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const waiter = { revision, resolve }
    const timer = setTimeout(resolve, reachMs)
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
    const fresh = new Map(records.map((record) => [record.key, record]))
    for (const key of [...this.#records.keys()])
      if (!fresh.has(key)) this.#apply({ change: 'drop', key, revision, reason: 'missed' }, revision)
    for (const record of records)
      if (this.#records.get(record.key)?.revision !== record.revision)
        this.#apply({ change: record.state === 'suspect' ? 'suspect' : 'put', record }, revision)
    this.#advance(revision)
    const behind = this.#behind ?? []
    this.#behind = undefined
    for (const change of behind) this.take(change)
    const again = this.#again
    this.#again = false
    if (again) this.resync()
  }

  #apply(change: RecordChange, revision: number): void {
    if (change.change === 'drop') this.#records.delete(change.key)
    else this.#records.set(change.record.key, ownBytes(change.record))
    this.#metrics.records.set(this.#records.size)
    for (const listener of this.#listeners) listener(change)
    this.#advance(revision)
  }

  #advance(revision: number): void {
    this.#revision = revision
    for (const waiter of this.#waiters) if (waiter.revision <= revision) waiter.resolve()
  }
}

function revisionOf(change: RecordChange): number {
  return change.change === 'drop' ? change.revision : change.record.revision
}

/** A value that came from a socket is a view on all that was read with it, which would stay in memory too. */
function ownBytes(record: StoredRecord): StoredRecord {
  return { ...record, value: Buffer.from(record.value) }
}
