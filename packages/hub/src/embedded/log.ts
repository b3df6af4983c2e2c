import { everyChannel, type Range } from '../bus.ts'
import { type SealedBatch, spanOf } from './wire.ts'

interface Entry {
  batch: SealedBatch
  stamp: number
  /** When it was appended, ms of the state's clock. */
  at: number
  prev: number
  first: number
  last: number
  /** The entries of the same channel before and after it, as far as they are kept. */
  before: Entry | undefined
  after: Entry | undefined
}

/** A batch that a log holds. */
export interface Found {
  batch: SealedBatch
  stamp: number
}

/** What an entry takes beside its frames, bytes. */
const entryBytes = 256

/** What one origin appended in the last while, and its last number on each channel. */
export class OriginLog {
  readonly #bounds: { ms: number; bytes: number }
  /** Everything kept, oldest first, from `#start` on. */
  #entries: (Entry | undefined)[] = []
  #start = 0
  #bytes = 0
  /** The highest number that was trimmed. */
  #trimmed = 0
  #last = 0
  #floor = 0
  readonly #heads = new Map<string, number>()
  /** Per channel, its latest entry that is kept. */
  readonly #latest = new Map<string, Entry>()

  constructor(bounds: { ms: number; bytes: number }) {
    this.#bounds = bounds
  }

  /** Its highest number. */
  get last(): number {
    return this.#last
  }

  append(batch: SealedBatch, stamp: number, now: number): void {
    const { bytes, channel } = batch
    const { prev, first, last } = spanOf(batch)
    const before = this.#latest.get(channel)
    const entry: Entry = { batch, stamp, at: now, prev, first, last, before, after: undefined }
    if (before) before.after = entry
    this.#latest.set(channel, entry)
    this.#heads.set(channel, last)
    this.#entries.push(entry)
    this.#bytes += bytes.length + entryBytes
    if (last > this.#last) this.#last = last
    this.trim(now)
  }

  /** Its last number on the channel; where it has forgotten that, the number up to which there may be something. */
  head(channel: string): number {
    return this.#heads.get(channel) ?? this.#floor
  }

  forget(channel: string): void {
    this.#floor = Math.max(this.#floor, this.#heads.get(channel) ?? 0)
    this.#heads.delete(channel)
  }

  /** Nothing is ever put on the channel again. */
  close(channel: string): void {
    this.#heads.delete(channel)
  }

  /** The batches of a range, oldest first, and the part of it that was trimmed. */
  read(range: Range): { batches: Found[]; missing: Range | undefined } {
    if (range.to === everyChannel) return this.#readAll(range)
    const { origin, to, from, until } = range
    const batches: Found[] = []
    let oldest: Entry | undefined
    for (let entry = this.#latest.get(to); entry && entry.last >= from; entry = entry.before) {
      oldest = entry
      if (entry.first <= until) batches.push({ batch: entry.batch, stamp: entry.stamp })
    }
    batches.reverse()
    // Nothing of the channel lies between `from` and the oldest batch that is kept, or nothing can have been trimmed.
    const end = Math.min(until, oldest ? oldest.prev : this.head(to))
    const missing = this.#trimmed >= from && end >= from ? { origin, to, from, until: end } : undefined
    return { batches, missing }
  }

  #readAll({ origin, to, from, until }: Range): { batches: Found[]; missing: Range | undefined } {
    const batches: Found[] = []
    let below: number | undefined
    for (let i = this.#entries.length - 1; i >= this.#start; i--) {
      const entry = this.#entries[i] as Entry
      // The numbers of one append's batches may be mixed, those of the appends before it are lower.
      if (below !== undefined && entry.stamp < below) break
      if (entry.last < from) below ??= entry.stamp
      else if (entry.first <= until) batches.push({ batch: entry.batch, stamp: entry.stamp })
    }
    const missing = this.#trimmed >= from ? { origin, to, from, until: Math.min(until, this.#trimmed) } : undefined
    return { batches: batches.reverse(), missing }
  }

  /** When its oldest entry was appended, ms of the state's clock; infinity where there is none. */
  get oldest(): number {
    return this.#entries[this.#start]?.at ?? Number.POSITIVE_INFINITY
  }

  /** What it holds, bytes. */
  get bytes(): number {
    return this.#bytes
  }

  trim(now: number): void {
    while (this.oldest <= now - this.#bounds.ms || this.#bytes > this.#bounds.bytes) this.#dropOldest()
  }

  /** Lets go of at least so many bytes of what is oldest, as far as it has them; returns how many. */
  shed(bytes: number): number {
    const before = this.#bytes
    while (this.#bytes > 0 && before - this.#bytes < bytes) this.#dropOldest()
    return before - this.#bytes
  }

  #dropOldest(): void {
    const entry = this.#entries[this.#start] as Entry
    this.#entries[this.#start++] = undefined
    if (this.#start > 1024 && this.#start * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#start)
      this.#start = 0
    }
    this.#bytes -= entry.batch.bytes.length + entryBytes
    this.#trimmed = Math.max(this.#trimmed, entry.last)
    if (entry.after) entry.after.before = undefined
    else this.#latest.delete(entry.batch.channel)
  }
}
