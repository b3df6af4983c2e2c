import type { Redis } from 'ioredis'
import { decodeBatch } from '../batch.ts'
import { everyChannel, type Logged, type Range, type Reading } from '../bus.ts'
import { open } from '../seal.ts'
import type { RedisKeys } from './keys.ts'

/** About how much one command reads, bytes: appends wait behind it. */
const pageBytes = 1024 * 1024

/** Entries of one command: of the first, and at most. */
const pageEntries = { first: 16, most: 1_000 }

/** One range that somebody wants. */
interface Want {
  range: Range
  found: Logged[]
  missing: Range | undefined
  /** Bytes that whoever asked may still get; the ranges of one call share it. */
  room: { left: number }
  full: boolean
}

interface Line {
  last: Promise<void>
  /** Those who will be served by the reading after the present one. */
  waiting: Want[] | undefined
}

/** Reads workers' logs. Those who want the same log while it is being read are all served by the next reading. */
export class LogReader {
  readonly #redis: Redis
  readonly #keys: RedisKeys
  readonly #lines = new Map<number, Line>()

  constructor(redis: Redis, keys: RedisKeys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** As `Bus.read`. Rejects when Redis does not answer. */
  async read(ranges: Range[], bytes: number): Promise<Reading> {
    const room = { left: bytes }
    const wants = ranges.map((range): Want => ({ range, found: [], missing: undefined, room, full: false }))
    const origins = [...new Set(ranges.map(({ origin }) => origin))]
    await Promise.all(
      origins.map((origin) =>
        this.#serve(
          origin,
          wants.filter(({ range }) => range.origin === origin),
        ),
      ),
    )
    return {
      batches: wants.flatMap(({ found }) => found).sort((a, b) => a.stamp - b.stamp),
      missing: wants.flatMap(({ missing }) => missing ?? []),
    }
  }

  async #serve(origin: number, wants: Want[]): Promise<void> {
    const line = this.#lines.get(origin) ?? { last: Promise.resolve(), waiting: undefined }
    this.#lines.set(origin, line)
    if (line.waiting) line.waiting.push(...wants)
    else {
      const all = [...wants]
      line.waiting = all
      const read = () => {
        line.waiting = undefined
        return this.#scan(origin, all)
      }
      line.last = line.last.then(read, read)
    }
    const { last } = line
    try {
      await last
    } finally {
      if (line.last === last && !line.waiting) this.#lines.delete(origin)
    }
  }

  async #scan(origin: number, wants: Want[]): Promise<void> {
    const until = Math.max(...wants.map(({ range }) => range.until))
    let from = Math.min(...wants.map(({ range }) => range.from))
    let count = pageEntries.first
    for (let more = true; more && wants.some(({ full }) => !full); ) {
      const page = await this.#redis.xrangeBuffer(this.#keys.log(origin), `${from}-0`, '+', 'COUNT', count)
      let size = 0
      for (const [id, fields] of page) {
        const last = Number.parseInt(id.toString('latin1'), 10)
        const [, stamp, , batches] = fields
        if (stamp && batches) {
          size += batches.length
          take(Number(stamp.toString('latin1')), batches, wants)
        }
        from = last + 1
      }
      more = page.length === count && from <= until
      count = Math.min(pageEntries.most, Math.max(1, Math.floor((pageBytes * page.length) / (size || 1))))
    }
    await this.#prove(origin, wants)
  }

  /** Finds out, after reading, what the log cannot prove: it may have been cut meanwhile. */
  async #prove(origin: number, wants: Want[]): Promise<void> {
    const replies = await this.#redis
      .multi()
      .zscore(this.#keys.logs, String(origin))
      .hmget(this.#keys.heads(origin), 'trimmed', 'floor', ...wants.map(({ range }) => range.to))
      .exec()
    const known = replies?.[0]?.[1] as string | null | undefined
    const numbers = replies?.[1]?.[1] as (string | null)[] | undefined
    if (known === undefined || !numbers) throw new Error('Redis did not say how far the log goes.')
    const [trimmed = 0, floor = 0, ...heads] = numbers.map((text) => Number(text ?? 0))
    wants.forEach((want, i) => {
      const { range, found, full } = want
      const { from, until } = range
      // What the log holds of a channel follows its first batch without a hole.
      const head = found[0] ? found[0].batch.prev : heads[i] || floor
      const end = Math.min(until, range.to === everyChannel ? trimmed : head)
      if (known === null) want.missing = range
      else if (full) want.missing = { ...range, from: Math.max(from, (found.at(-1)?.batch.last ?? 0) + 1) }
      else if (trimmed >= from && end >= from) want.missing = { ...range, until: end }
    })
  }
}

/** Gives the batches of one entry to those who want them. */
function take(stamp: number, batches: Buffer, wants: Want[]): void {
  for (let at = 0; at < batches.length; ) {
    const start = at + 6 + batches.readUInt16BE(at)
    const end = start + batches.readUInt32BE(at + 2)
    const channel = batches.toString('latin1', at + 6, start)
    at = end
    let batch: Logged['batch'] | undefined
    for (const want of wants) {
      const { range, found, room } = want
      if ((range.to !== channel && range.to !== everyChannel) || want.full) continue
      batch ??= decodeBatch(channel, open(batches.subarray(start, end)))
      if (batch.last < range.from || batch.first > range.until) continue
      room.left -= batch.bytes.length
      if (room.left < 0 && found.length > 0) want.full = true
      else found.push({ batch, stamp })
    }
  }
}
