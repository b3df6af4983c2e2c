import type { Position } from '@damon/protocol/frames'
import type { Range } from '../bus.ts'
import { type Found, OriginLog } from './log.ts'
import { spanOf } from './wire.ts'

/** How much of one log is let go of before the others are looked at. */
const shedBytes = 1024 * 1024

/** The logs of all origins: of workers that live, and of those that ended until theirs is too old for anyone. */
export class Logs {
  readonly #bounds: { ms: number; bytes: number; allBytes: number }
  /** `ends`: when a log goes whose worker has ended, ms of the state's clock. */
  readonly #logs = new Map<number, { log: OriginLog; ends: number }>()

  /** What each log holds at most, and all of them. */
  constructor(bounds: { ms: number; bytes: number; allBytes: number }) {
    this.#bounds = bounds
  }

  open(origin: number): void {
    this.#logs.set(origin, { log: new OriginLog(this.#bounds), ends: Number.POSITIVE_INFINITY })
  }

  /** Nothing is appended to it any more. */
  end(origin: number, now: number): void {
    const kept = this.#logs.get(origin)
    if (kept) kept.ends = now + this.#bounds.ms
  }

  of(origin: number): OriginLog | undefined {
    return this.#logs.get(origin)?.log
  }

  /** What they hold, bytes. */
  get bytes(): number {
    let bytes = 0
    for (const { log } of this.#logs.values()) bytes += log.bytes
    return bytes
  }

  sweep(now: number): void {
    for (const [origin, { log, ends }] of this.#logs) {
      if (ends <= now) this.#logs.delete(origin)
      else log.trim(now)
    }
    this.#shed(this.bytes - this.#bounds.allBytes)
  }

  /** Lets go of the oldest of all, whoever wrote it. */
  #shed(bytes: number): void {
    for (let left = bytes; left > 0; ) {
      let oldest: OriginLog | undefined
      for (const { log } of this.#logs.values())
        if (log.oldest < (oldest?.oldest ?? Number.POSITIVE_INFINITY)) oldest = log
      if (!oldest) return
      left -= oldest.shed(Math.min(left, shedBytes))
    }
  }

  /** Where every origin stands on these channels. */
  heads(channels: readonly string[]): Position[] {
    const heads: Position[] = []
    for (const [origin, { log }] of this.#logs)
      for (const to of channels) {
        const seq = log.head(to)
        if (seq > 0) heads.push({ origin, to, seq })
      }
    return heads
  }

  /** Nothing is ever put on this channel again. */
  close(channel: string): void {
    for (const { log } of this.#logs.values()) log.close(channel)
  }

  /** What the logs hold of these ranges, in order, up to so many bytes, and where to read on. */
  read(ranges: Range[], bytes: number): { batches: Found[]; missing: Range[]; rest: Range[] } {
    const found: (Found & { range: Range; first: number; last: number })[] = []
    const missing: Range[] = []
    for (const range of ranges) {
      const log = this.of(range.origin)
      if (!log) {
        missing.push(range)
        continue
      }
      const read = log.read(range)
      if (read.missing) missing.push(read.missing)
      const after = read.missing ? { ...range, from: read.missing.until + 1 } : range
      for (const one of read.batches) found.push({ ...one, range: after, ...spanOf(one.batch.bytes) })
    }
    // The batches of one append are of one stamp, and in the order of their first numbers.
    found.sort((a, b) => a.stamp - b.stamp || a.first - b.first)
    let size = 0
    const cut = found.findIndex((one, i) => {
      size += one.batch.bytes.length
      return size > bytes && i > 0
    })
    const batches = cut < 0 ? found : found.slice(0, cut)
    const rest = new Map<Range, Range>()
    if (cut >= 0) for (const { range } of found.slice(cut)) rest.set(range, { ...range })
    for (const { range, last } of batches) {
      const open = rest.get(range)
      if (open) open.from = Math.max(open.from, last + 1)
    }
    return { batches: batches.map(({ batch, stamp }) => ({ batch, stamp })), missing, rest: [...rest.values()] }
  }
}
