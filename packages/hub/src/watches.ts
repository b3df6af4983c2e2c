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
  /** What is left of its snapshot; undefined when all of it was sent. */
  snapshot: Iterator<HubFrame> | undefined
  /** The frame of the snapshot that was refused. */
  refused: HubFrame | undefined
  /** Changes that wait for the watcher, per key the latest. */
  waiting: Map<string, RecordChange>
}

/**
 * Tells watchers what they asked for: a snapshot of this worker's copy, then every change of it. A slow watcher gets the
 * rest when it takes frames again, of each record only what it is then. Of large snapshots one frame goes out in each turn of
 * the event loop, however many watchers wait for theirs, so that nobody else has to wait for that.
 */
export class Watches {
  readonly #replica: Replica
  readonly #watches = new Map<Watcher, Map<number, Watch>>()
  /** Whose snapshots go on, the next one first. */
  readonly #unfinished = new Set<Watch>()
  #turn: NodeJS.Immediate | undefined

  constructor(replica: Replica) {
    this.#replica = replica
    replica.onChange((change) => this.#change(change))
  }

  add(watcher: Watcher, id: number, prefix: string): void {
    const own = this.#watches.get(watcher) ?? new Map<number, Watch>()
    this.#watches.set(watcher, own)
    const snapshot = snapshotFrames(id, this.#replica.list(prefix), this.#replica.revision)
    const watch: Watch = { watcher, id, prefix, snapshot, refused: undefined, waiting: new Map() }
    own.set(id, watch)
    this.#advance(watch)
  }

  has(watcher: Watcher, id: number): boolean {
    return this.#watches.get(watcher)?.has(id) ?? false
  }

  count(watcher: Watcher): number {
    return this.#watches.get(watcher)?.size ?? 0
  }

  remove(watcher: Watcher, id: number): void {
    const own = this.#watches.get(watcher)
    const watch = own?.get(id)
    if (watch) this.#unfinished.delete(watch)
    own?.delete(id)
    if (own?.size === 0) this.#watches.delete(watcher)
  }

  removeAll(watcher: Watcher): void {
    for (const watch of this.#watches.get(watcher)?.values() ?? []) this.#unfinished.delete(watch)
    this.#watches.delete(watcher)
  }

  /** The prefixes of a watcher that its rights no longer cover end. */
  recheck(watcher: Watcher, allowed: (prefix: string) => boolean): Pick<Watch, 'id' | 'prefix'>[] {
    const refused = [...(this.#watches.get(watcher)?.values() ?? [])].filter(({ prefix }) => !allowed(prefix))
    for (const { id } of refused) this.remove(watcher, id)
    return refused
  }

  /** The session takes frames again. */
  drained(watcher: Watcher): void {
    for (const watch of this.#watches.get(watcher)?.values() ?? []) this.#advance(watch)
  }

  #change(change: RecordChange): void {
    const key = change.change === 'drop' ? change.key : change.record.key
    for (const own of this.#watches.values())
      for (const watch of own.values()) {
        if (!isUnder(watch.prefix, key)) continue
        const behind = watch.snapshot !== undefined || watch.waiting.size > 0
        if (!behind && watch.watcher.offer(changeFrame(watch.id, change))) continue
        // Set anew, so that what waits stays in the order of its revisions.
        watch.waiting.delete(key)
        watch.waiting.set(key, change)
      }
  }

  /** Sends what waits, as far as it is taken: of a snapshot its next frame. */
  #advance(watch: Watch): void {
    this.#unfinished.delete(watch)
    if (watch.snapshot) {
      const frame: HubFrame | undefined = watch.refused ?? watch.snapshot.next().value
      watch.refused = frame && !watch.watcher.offer(frame) ? frame : undefined
      // The session says when it takes more.
      if (watch.refused) return
      if (frame && 'more' in frame && frame.more) {
        this.#unfinished.add(watch)
        this.#turn ??= setImmediate(() => this.#goOn())
        return
      }
      watch.snapshot = undefined
    }
    for (const [key, change] of watch.waiting) {
      if (!watch.watcher.offer(changeFrame(watch.id, change))) return
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

/** A snapshot as frames: few entries and few bytes in each, `more` on all but the last. */
export function* snapshotFrames(
  id: number,
  records: readonly StoredRecord[],
  revision: number,
): Generator<HubFrame, undefined> {
  let slice: StoredRecord[] = []
  let bytes = 0
  let reset = true
  const frame = (more: boolean): HubFrame => {
    const entries = slice.map(entryOf)
    const payload = Buffer.concat(entries.map(({ value }) => value))
    return {
      type: 'records',
      id,
      snapshot: true,
      reset,
      more,
      revision,
      entries: entries.map(({ entry }) => entry),
      payload,
    }
  }
  for (const record of records) {
    const size = record.value.length + record.key.length + 128
    if (slice.length === limits.recordsPerFrame || (slice.length > 0 && bytes + size > limits.frameBytes)) {
      yield frame(true)
      reset = false
      slice = []
      bytes = 0
    }
    slice.push(record)
    bytes += size
  }
  yield frame(false)
  return undefined
}

function changeFrame(id: number, change: RecordChange): HubFrame {
  const { entry, value } = change.change === 'drop' ? dropped(change) : entryOf(change.record)
  return {
    type: 'records',
    id,
    snapshot: false,
    reset: false,
    more: false,
    revision: entry.revision,
    entries: [entry],
    payload: value,
  }
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
