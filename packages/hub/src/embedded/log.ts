import { everyChannel, type Range } from '../bus.ts'
import { type Lane, type Row, Rows } from './rows.ts'
import { lastOf, type SealedBatch, spanOf } from './wire.ts'

/** A batch that a log holds. */
export interface Found {
  batch: SealedBatch
  stamp: number
}

/** What a row takes beside its bytes. */
const rowBytes = 64

/** What one origin appended in the last while, and its last number on each channel. */
export class OriginLog {
  readonly #bounds: { ms: number; bytes: number }
  readonly #rows = new Rows()
  #bytes = 0
  /** The highest number that was trimmed. */
  #trimmed = 0
  #last = 0
  #floor = 0
  readonly #lanes = new Map<string, Lane>()

  constructor(bounds: { ms: number; bytes: number }) {
    this.#bounds = bounds
  }

  /** Its highest number. */
  get last(): number {
    return this.#last
  }

  /** Keeps a copy of the batch. */
  append(batch: SealedBatch, stamp: number, now: number): void {
    const { bytes, channel } = batch
    const last = lastOf(bytes)
    let lane = this.#lanes.get(channel)
    if (!lane) {
      lane = { channel, head: undefined, latest: undefined }
      this.#lanes.set(channel, lane)
    }
    lane.latest = this.#rows.add(lane, lane.latest ?? -1, stamp, now, bytes)
    lane.head = last
    this.#bytes += bytes.length + rowBytes
    if (last > this.#last) this.#last = last
    this.trim(now)
  }

  /** Its last number on the channel; where it has forgotten that, the number up to which there may be something. */
  head(channel: string): number {
    return this.#lanes.get(channel)?.head ?? this.#floor
  }

  forget(channel: string): void {
    this.#floor = Math.max(this.#floor, this.#lanes.get(channel)?.head ?? 0)
    this.close(channel)
  }

  /** Nothing is ever put on the channel again. */
  close(channel: string): void {
    const lane = this.#lanes.get(channel)
    if (!lane) return
    lane.head = undefined
    this.#leave(lane)
  }

  /** The batches of a range, oldest first, and the part of it that was trimmed. */
  read(range: Range): { batches: Found[]; missing: Range | undefined } {
    if (range.to === everyChannel) return this.#readAll(range)
    const { origin, to, from, until } = range
    const batches: Found[] = []
    let oldest: number | undefined
    for (let row = this.#row(this.#lanes.get(to)?.latest); row; row = this.#row(row.before)) {
      const { prev, first, last } = spanOf(row.bytes)
      if (last < from) break
      oldest = prev
      if (first <= until) batches.push(found(row))
    }
    batches.reverse()
    // Nothing of the channel lies between `from` and the oldest batch that is kept, or nothing can have been trimmed.
    const end = Math.min(until, oldest ?? this.head(to))
    const missing = this.#trimmed >= from && end >= from ? { origin, to, from, until: end } : undefined
    return { batches, missing }
  }

  #readAll({ origin, to, from, until }: Range): { batches: Found[]; missing: Range | undefined } {
    const batches: Found[] = []
    let below: number | undefined
    for (let i = this.#rows.next - 1; i >= this.#rows.first; i--) {
      const row = this.#rows.get(i) as Row
      // The numbers of one append's batches may be mixed, those of the appends before it are lower.
      if (below !== undefined && row.stamp < below) break
      const { first, last } = spanOf(row.bytes)
      if (last < from) below ??= row.stamp
      else if (first <= until) batches.push(found(row))
    }
    const missing = this.#trimmed >= from ? { origin, to, from, until: Math.min(until, this.#trimmed) } : undefined
    return { batches: batches.reverse(), missing }
  }

  /** When its oldest batch was appended, ms of the state's clock; infinity where there is none. */
  get oldest(): number {
    return this.#rows.oldest ?? Number.POSITIVE_INFINITY
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
    const number = this.#rows.first
    const { lane, bytes } = this.#rows.shift() as Row
    this.#bytes -= bytes.length + rowBytes
    this.#trimmed = Math.max(this.#trimmed, lastOf(bytes))
    if (lane.latest === number) lane.latest = undefined
    this.#leave(lane)
  }

  #row(number: number | undefined): Row | undefined {
    return number === undefined ? undefined : this.#rows.get(number)
  }

  /** Keeps a lane only as long as there is anything to know of it. */
  #leave({ channel, head, latest }: Lane): void {
    if (head === undefined && latest === undefined) this.#lanes.delete(channel)
  }
}

function found({ lane, stamp, bytes }: Row): Found {
  return { batch: { channel: lane.channel, bytes }, stamp }
}
