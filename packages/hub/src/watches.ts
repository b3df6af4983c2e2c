import type { HubFrame, RecordEntryMeta } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { isUnder } from '@damon/protocol/names'
import type { Replica } from './replica.ts'
import type { RecordChange, StoredRecord } from './store.ts'

/** A session that watches. */
export interface Watcher {
  /** Sends a frame, or refuses it because the session is too slow for now. */
  offer(frame: HubFrame): boolean
}

interface Watch {
  watcher: Watcher
  id: number
  prefix: string
  /** Changes were not taken: a fresh snapshot is due when the session takes frames again. */
  stale: boolean
}

/** Tells watchers what they asked for: a snapshot of this worker's copy, then every change of it. */
export class Watches {
  readonly #replica: Replica
  readonly #watches = new Map<Watcher, Map<number, Watch>>()

  constructor(replica: Replica) {
    this.#replica = replica
    replica.onChange((change) => this.#change(change))
  }

  add(watcher: Watcher, id: number, prefix: string): void {
    const own = this.#watches.get(watcher) ?? new Map<number, Watch>()
    this.#watches.set(watcher, own)
    const watch = { watcher, id, prefix, stale: false }
    own.set(id, watch)
    this.#snapshot(watch)
  }

  has(watcher: Watcher, id: number): boolean {
    return this.#watches.get(watcher)?.has(id) ?? false
  }

  count(watcher: Watcher): number {
    return this.#watches.get(watcher)?.size ?? 0
  }

  remove(watcher: Watcher, id: number): void {
    const own = this.#watches.get(watcher)
    own?.delete(id)
    if (own?.size === 0) this.#watches.delete(watcher)
  }

  removeAll(watcher: Watcher): void {
    this.#watches.delete(watcher)
  }

  /** The prefixes of a watcher that its rights no longer cover end. */
  recheck(watcher: Watcher, allowed: (prefix: string) => boolean): Watch[] {
    const refused = [...(this.#watches.get(watcher)?.values() ?? [])].filter(({ prefix }) => !allowed(prefix))
    for (const { id } of refused) this.remove(watcher, id)
    return refused
  }

  /** The session takes frames again. */
  drained(watcher: Watcher): void {
    for (const watch of this.#watches.get(watcher)?.values() ?? []) if (watch.stale) this.#snapshot(watch)
  }

  #snapshot(watch: Watch): void {
    const records = this.#replica.list(watch.prefix)
    const frames = snapshotFrames(watch.id, records, this.#replica.revision)
    watch.stale = !frames.every((frame) => watch.watcher.offer(frame))
  }

  #change(change: RecordChange): void {
    const key = change.change === 'drop' ? change.key : change.record.key
    for (const own of this.#watches.values())
      for (const watch of own.values()) {
        if (watch.stale || !isUnder(watch.prefix, key)) continue
        const { entry, value } = change.change === 'drop' ? dropped(change) : entryOf(change.record)
        const taken = watch.watcher.offer({
          type: 'records',
          id: watch.id,
          snapshot: false,
          reset: false,
          more: false,
          revision: entry.revision,
          entries: [entry],
          payload: value,
        })
        watch.stale = !taken
      }
  }
}

/** A snapshot as frames: few entries and few bytes in each, `more` on all but the last. */
export function snapshotFrames(id: number, records: StoredRecord[], revision: number): HubFrame[] {
  const slices: StoredRecord[][] = [[]]
  let bytes = 0
  for (const record of records) {
    const slice = slices.at(-1) as StoredRecord[]
    const size = record.value.length + record.key.length + 128
    if (slice.length === limits.recordsPerFrame || (slice.length > 0 && bytes + size > limits.frameBytes)) {
      slices.push([record])
      bytes = size
    } else {
      slice.push(record)
      bytes += size
    }
  }
  return slices.map((slice, i) => {
    const entries = slice.map(entryOf)
    return {
      type: 'records',
      id,
      snapshot: true,
      reset: i === 0,
      more: i < slices.length - 1,
      revision,
      entries: entries.map(({ entry }) => entry),
      payload: Buffer.concat(entries.map(({ value }) => value)),
    }
  })
}

function entryOf(record: StoredRecord): { entry: RecordEntryMeta; value: Buffer } {
  const { key, revision, generation, leased, state, value } = record
  const change = state === 'suspect' ? 'suspect' : 'put'
  return { entry: { key, change, revision, generation, leased, size: value.length }, value }
}

function dropped(change: Extract<RecordChange, { change: 'drop' }>): { entry: RecordEntryMeta; value: Buffer } {
  const { key, revision, reason } = change
  const entry: RecordEntryMeta = { key, change: 'drop', revision, generation: 0, leased: false, size: 0, reason }
  return { entry, value: Buffer.alloc(0) }
}
