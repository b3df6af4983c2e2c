import { digestOf } from '@damon/protocol/digest'
import type { DamonError } from '@damon/protocol/errors'
import type { HubControlFrame } from '@damon/protocol/frames'
import type { Schema } from './contract.ts'
import { type Deferred, deferred, quiet, unlessAborted } from './deferred.ts'
import { Listeners } from './listeners.ts'
import { acceptEntry, type RecordEntry, type RecordFrameEntry, readEntries, recordEntry } from './record-entry.ts'

/** A change of one record under a watch. */
export interface RecordChange<T = unknown> {
  /** `put`: new, changed, or live again; `suspect`: its owner is gone, in grace; `drop`: it ended. */
  type: 'put' | 'suspect' | 'drop'
  key: string
  /** The record now; absent when it ended. */
  entry?: RecordEntry<T>
  /** Why it ended, in its dropper's words; `expired` when its owner did not return, `unseen` when it ended while this client was away, `bad_payload` when its value is not as the contract says any more. */
  reason?: string
  revision: number
}

/**
 * The records under a prefix: first all of them, as changes of type `put` or `suspect`, then every change, also over
 * reconnects. A slow reader of the iterator gets the latest change of each key, never an older one.
 */
export class Watch<T = unknown> implements AsyncIterable<RecordChange<T>>, Disposable {
  readonly prefix: string
  readonly #entries = new Map<string, RecordEntry<T>>()
  /** Records that there are, and whose values the schema does not take. */
  readonly #refused = new Map<string, RecordEntry>()
  readonly #listeners: Listeners<{ change: RecordChange<T> }>
  readonly #cursors = new Set<Cursor<T>>()
  readonly #ready = deferred<void>()
  readonly #dispose: () => void
  readonly #schema: Schema | undefined
  readonly #report: (error: unknown) => void
  /** What a running snapshot holds so far. */
  #snapshot: Map<string, RecordFrameEntry> | undefined
  /** Up to which it knows all; undefined before the first snapshot, and when it proved to know something else. */
  #revision: number | undefined
  #resyncs = 0
  #end: { error?: DamonError } | undefined

  /** Records that the schema does not take are reported, and count as not there. */
  constructor(prefix: string, report: (error: unknown) => void, dispose: () => void, schema?: Schema) {
    this.prefix = prefix
    this.#report = report
    this.#schema = schema
    this.#listeners = new Listeners(report)
    this.#dispose = dispose
  }

  /** The records as they are now, by key. */
  get entries(): ReadonlyMap<string, RecordEntry<T>> {
    return this.#entries
  }

  /** How often it had something else than the hub, and began anew. */
  get resyncs(): number {
    return this.#resyncs
  }

  /** The revision up to which it knows all, if it does. */
  get revision(): number | undefined {
    return this.#revision
  }

  /** Resolves when the first snapshot is complete. Rejects when the hub refuses the watch. */
  ready(signal?: AbortSignal): Promise<void> {
    return quiet(unlessAborted(this.#ready.promise, signal))
  }

  /** Hears every change from now on. Registered before the next await, it misses none. */
  on(event: 'change', listener: (change: RecordChange<T>) => void): Disposable {
    return this.#listeners.on(event, listener)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<RecordChange<T>, void, undefined> {
    const cursor = new Cursor<T>()
    for (const entry of this.#entries.values()) cursor.push(changeOf(entry))
    this.#cursors.add(cursor)
    try {
      for (;;) {
        const change = cursor.shift()
        if (change) yield change
        else if (this.#end?.error) throw this.#end.error
        else if (this.#end) return
        else await cursor.wait()
      }
    } finally {
      this.#cursors.delete(cursor)
    }
  }

  /** Ends it: iterators finish, listeners hear nothing more. */
  close(): void {
    if (this.#end) return
    this.finish()
    this.#dispose()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** Takes a `records` frame. */
  take(frame: Extract<HubControlFrame, { type: 'records' }>): void {
    if (this.#end) return
    const entries = readEntries(frame)
    if (frame.reset) this.#snapshot = new Map()
    if (frame.snapshot && this.#snapshot) {
      for (const entry of entries) this.#snapshot.set(entry.meta.key, entry)
      if (frame.more) return
      this.#compare(this.#snapshot, frame.revision)
      this.#snapshot = undefined
      this.#ready.resolve()
    } else {
      for (const entry of entries) this.#change(entry)
      if (frame.more || this.#revision === undefined) return
    }
    this.#revision = frame.revision
  }

  /** Compares with what the hub says it must have now; false: it has something else, and needs a snapshot. */
  check(digest: string): boolean {
    if (this.#revision === undefined || digest === digestOf([...this.#entries.values(), ...this.#refused.values()]))
      return true
    this.#revision = undefined
    this.#resyncs++
    return false
  }

  /** The connection is gone; the changes since, or a new snapshot, will come. */
  interrupt(): void {
    this.#snapshot = undefined
  }

  /** No change will come any more, because of this error or because nobody wants them. */
  finish(error?: DamonError): void {
    if (this.#end) return
    this.#end = error ? { error } : {}
    if (error) this.#ready.reject(error)
    else this.#ready.resolve()
    for (const cursor of this.#cursors) cursor.wake()
  }

  /** Finds what changed between what was known and a snapshot. */
  #compare(snapshot: Map<string, RecordFrameEntry>, revision: number): void {
    for (const key of this.#refused.keys()) if (!snapshot.has(key)) this.#refused.delete(key)
    for (const key of [...this.#entries.keys()])
      if (!snapshot.has(key)) this.#tell({ type: 'drop', key, reason: 'unseen', revision })
    for (const entry of snapshot.values()) this.#change(entry)
  }

  #change(from: RecordFrameEntry): void {
    const { key, change, revision, reason } = from.meta
    const known = this.#entries.get(key)
    if (change === 'drop') {
      this.#refused.delete(key)
      if (known) this.#tell({ type: 'drop', key, revision, ...(reason === undefined ? {} : { reason }) })
      return
    }
    const entry = this.#read(from, known)
    if (!entry) {
      if (known) this.#tell({ type: 'drop', key, revision, reason: 'bad_payload' })
      return
    }
    const same =
      known &&
      known.revision === entry.revision &&
      known.generation === entry.generation &&
      known.state === entry.state &&
      equal(known.bytes, entry.bytes)
    if (!same) this.#tell(changeOf(entry))
  }

  #read(from: RecordFrameEntry, known: RecordEntry<T> | undefined): RecordEntry<T> | undefined {
    const refused = this.#refused.get(from.meta.key)
    const entry = recordEntry(from, known ?? refused)
    // A value that was taken before has its final form already.
    if (known && entry.bytes === known.bytes) return entry as RecordEntry<T>
    try {
      const accepted = acceptEntry(entry, this.#schema) as RecordEntry<T>
      this.#refused.delete(entry.key)
      return accepted
    } catch (error) {
      this.#refused.set(entry.key, entry)
      if (!refused || !equal(refused.bytes, entry.bytes)) this.#report(error)
      return undefined
    }
  }

  #tell(change: RecordChange<T>): void {
    if (change.entry) this.#entries.set(change.key, change.entry)
    else this.#entries.delete(change.key)
    for (const cursor of this.#cursors) cursor.push(change)
    this.#listeners.emit('change', change)
  }
}

/** What one iterator has not read yet: per key the latest change, so that it never grows beyond the records there are. */
class Cursor<T> {
  readonly #pending = new Map<string, RecordChange<T>>()
  #news: Deferred<void> = deferred()

  push(change: RecordChange<T>): void {
    this.#pending.delete(change.key)
    this.#pending.set(change.key, change)
    this.wake()
  }

  shift(): RecordChange<T> | undefined {
    const next = this.#pending.entries().next()
    if (next.done) return undefined
    this.#pending.delete(next.value[0])
    return next.value[1]
  }

  wait(): Promise<void> {
    return quiet(this.#news.promise)
  }

  wake(): void {
    this.#news.resolve()
    this.#news = deferred()
  }
}

function changeOf<T>(entry: RecordEntry<T>): RecordChange<T> {
  const { key, revision, state } = entry
  return { type: state === 'suspect' ? 'suspect' : 'put', key, entry, revision }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
