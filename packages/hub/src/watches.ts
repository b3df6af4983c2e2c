import { RecordDigest } from '@damon/protocol/digest'
import type { HubFrame, RecordEntryMeta } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { prefixesOf } from '@damon/protocol/names'
import type { Replica } from './replica.ts'
import type { RecordChange, RecordValue, StoredRecord } from './store.ts'

/** A session that watches. */
export interface Watcher {
  /** Sends a frame, or refuses it because the session is too slow for now. */
  offer(frame: HubFrame): boolean
}

interface Watch {
  watcher: Watcher
  id: number
  prefix: WatchedPrefix
  /** What is left of its beginning; undefined when all of that was taken. */
  beginning: Iterator<HubFrame> | undefined
  /** The frame of the beginning that was refused. */
  refused: HubFrame | undefined
  /** Changes that wait for the watcher, per key the latest, with what has been told of all records then. */
  waiting: Map<string, { change: RecordChange; revision: number }>
}

/** A prefix that somebody watches. */
interface WatchedPrefix {
  prefix: string
  watches: Set<Watch>
  /** Of all records under it. */
  digest: RecordDigest
}

/** How a watch began: with all records, or with the changes since the revision that its watcher has. */
export type Beginning = 'snapshot' | 'changes'

/**
 * Tells watchers what they asked for: a snapshot of this worker's copy, or what changed since they were here, then every
 * change of it. A slow watcher gets the rest when it takes frames again, of each record only what it is then. Of what is large one
 * frame goes out in each turn of the event loop, however many watchers wait for theirs, so that nobody else has to wait for that.
 */
export class Watches {
  readonly #replica: Replica
  readonly #watches = new Map<Watcher, Map<number, Watch>>()
  readonly #prefixes = new Map<string, WatchedPrefix>()
  /** Whose beginnings go on, the next one first. */
  readonly #unfinished = new Set<Watch>()
  #turn: NodeJS.Immediate | undefined

  constructor(replica: Replica) {
    this.#replica = replica
    replica.onChange((change, before, revision) => this.#change(change, before, revision))
  }

  /** `since`: the revision up to which the watcher knows all. */
  add(watcher: Watcher, id: number, prefix: string, since?: number): Beginning {
    const changes = since === undefined ? undefined : this.#replica.since(prefix, since)
    const watched = this.#watched(prefix)
    const { revision } = this.#replica
    const beginning = changes
      ? slices(id, changes.map(entryOfChange), revision, false)
      : snapshotFrames(id, this.#replica.list(prefix), revision)
    const watch: Watch = { watcher, id, prefix: watched, beginning, refused: undefined, waiting: new Map() }
    watched.watches.add(watch)
    const own = this.#watches.get(watcher) ?? new Map<number, Watch>()
    this.#watches.set(watcher, own.set(id, watch))
    this.#advance(watch)
    return changes ? 'changes' : 'snapshot'
  }

  has(watcher: Watcher, id: number): boolean {
    return this.#watches.get(watcher)?.has(id) ?? false
  }

  count(watcher: Watcher): number {
    return this.#watches.get(watcher)?.size ?? 0
  }

  /** What a watcher must have now, by watch; nothing of those that have not been told all. */
  digests(watcher: Watcher): Record<string, string> | undefined {
    const own = this.#watches.get(watcher)
    if (!own) return undefined
    const digests: Record<string, string> = {}
    for (const watch of own.values()) if (!isBehind(watch)) digests[watch.id] = watch.prefix.digest.toString()
    return digests
  }

  remove(watcher: Watcher, id: number): void {
    const own = this.#watches.get(watcher)
    const watch = own?.get(id)
    if (watch) this.#forget(watch)
    own?.delete(id)
    if (own?.size === 0) this.#watches.delete(watcher)
  }

  removeAll(watcher: Watcher): void {
    for (const watch of this.#watches.get(watcher)?.values() ?? []) this.#forget(watch)
    this.#watches.delete(watcher)
  }

  /** The prefixes of a watcher that its rights no longer cover end. */
  recheck(watcher: Watcher, allowed: (prefix: string) => boolean): { id: number; prefix: string }[] {
    const own = [...(this.#watches.get(watcher)?.values() ?? [])]
    const refused = own
      .map(({ id, prefix }) => ({ id, prefix: prefix.prefix }))
      .filter(({ prefix }) => !allowed(prefix))
    for (const { id } of refused) this.remove(watcher, id)
    return refused
  }

  /** The session takes frames again. */
  drained(watcher: Watcher): void {
    for (const watch of this.#watches.get(watcher)?.values() ?? []) this.#advance(watch)
  }

  #watched(prefix: string): WatchedPrefix {
    const known = this.#prefixes.get(prefix)
    if (known) return known
    const digest = new RecordDigest()
    for (const record of this.#replica.list(prefix)) digest.add(record)
    const watched = { prefix, watches: new Set<Watch>(), digest }
    this.#prefixes.set(prefix, watched)
    return watched
  }

  #forget(watch: Watch): void {
    const { prefix } = watch
    this.#unfinished.delete(watch)
    prefix.watches.delete(watch)
    if (prefix.watches.size === 0) this.#prefixes.delete(prefix.prefix)
  }

  #change(change: RecordChange, before: StoredRecord | undefined, revision: number): void {
    const key = change.change === 'drop' ? change.key : change.record.key
    for (const prefix of prefixesOf(key)) {
      const watched = this.#prefixes.get(prefix)
      if (!watched) continue
      if (before) watched.digest.remove(before)
      if (change.change !== 'drop') watched.digest.add(change.record)
      for (const watch of watched.watches) {
        if (!isBehind(watch) && watch.watcher.offer(changeFrame(watch.id, change, revision))) continue
        // Set anew, so that what waits stays in the order of its revisions.
        watch.waiting.delete(key)
        watch.waiting.set(key, { change, revision })
      }
    }
  }

  /** Sends what waits, as far as it is taken: of its beginning the next frame. */
  #advance(watch: Watch): void {
    this.#unfinished.delete(watch)
    if (watch.beginning) {
      const frame: HubFrame | undefined = watch.refused ?? watch.beginning.next().value
      watch.refused = frame && !watch.watcher.offer(frame) ? frame : undefined
      // The session says when it takes more.
      if (watch.refused) return
      if (frame && 'more' in frame && frame.more) {
        this.#unfinished.add(watch)
        this.#turn ??= setImmediate(() => this.#goOn())
        return
      }
      watch.beginning = undefined
    }
    for (const [key, { change, revision }] of watch.waiting) {
      if (!watch.watcher.offer(changeFrame(watch.id, change, revision))) return
      watch.waiting.delete(key)
    }
  }

  #goOn(): void {
    this.#turn = undefined
    const [watch] = this.#unfinished
    if (watch) this.#advance(watch)
    if (this.#unfinished.size > 0) this.#turn ??= setImmediate(() => this.#goOn())
  }
}

/** Whether the watcher has not been told all that this copy has. */
function isBehind({ beginning, waiting }: Watch): boolean {
  return beginning !== undefined || waiting.size > 0
}

/** A snapshot as frames: few entries and few bytes in each, `more` on all but the last. */
export function snapshotFrames(id: number, records: readonly StoredRecord[], revision: number): Generator<HubFrame> {
  return slices(id, entriesOf(records), revision, true)
}

interface Entry {
  entry: RecordEntryMeta
  value: RecordValue
}

function* slices(id: number, all: Iterable<Entry>, revision: number, reset: boolean): Generator<HubFrame, undefined> {
  let slice: Entry[] = []
  let bytes = 0
  let first = true
  const frame = (more: boolean): HubFrame => {
    const entries = slice.map(({ entry }) => entry)
    const payload = bytesOf(slice.map(({ value }) => value).join(''))
    return { type: 'records', id, snapshot: true, reset: reset && first, more, revision, entries, payload }
  }
  for (const one of all) {
    const size = one.value.length + one.entry.key.length + (one.entry.reason?.length ?? 0) + 128
    if (slice.length === limits.recordsPerFrame || (slice.length > 0 && bytes + size > limits.frameBytes)) {
      yield frame(true)
      first = false
      slice = []
      bytes = 0
    }
    slice.push(one)
    bytes += size
  }
  yield frame(false)
  return undefined
}

function changeFrame(id: number, change: RecordChange, revision: number): HubFrame {
  const { entry, value } = entryOfChange(change)
  return {
    type: 'records',
    id,
    snapshot: false,
    reset: false,
    more: false,
    revision,
    entries: [entry],
    payload: bytesOf(value),
  }
}

function* entriesOf(records: readonly StoredRecord[]): Generator<Entry, undefined> {
  for (const record of records) yield entryOf(record)
  return undefined
}

function entryOfChange(change: RecordChange): Entry {
  return change.change === 'drop' ? dropped(change) : entryOf(change.record)
}

function entryOf(record: StoredRecord): Entry {
  const { key, revision, generation, leased, state, value } = record
  const change = state === 'suspect' ? 'suspect' : 'put'
  return { entry: { key, change, revision, generation, leased, size: value.length }, value }
}

function dropped(change: Extract<RecordChange, { change: 'drop' }>): Entry {
  const { key, revision, reason } = change
  const entry: RecordEntryMeta = { key, change: 'drop', revision, generation: 0, leased: false, size: 0, reason }
  return { entry, value: '' }
}

function bytesOf(value: RecordValue): Buffer {
  return Buffer.from(value, 'latin1')
}
