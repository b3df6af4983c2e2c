import type { Duplex } from 'node:stream'
import { limits } from '@damon/protocol/limits'
import type { Tick } from './tick.ts'
import { Unsent } from './unsent.ts'

/** At the end of each tick, writes what every outbox holds. */
export class Flusher {
  readonly #tick: Tick
  #dirty: Outbox[] = []

  constructor(tick: Tick) {
    this.#tick = tick
    tick.at('write', () => this.#flush())
  }

  add(outbox: Outbox): void {
    this.#dirty.push(outbox)
    this.#tick.want()
  }

  #flush(): void {
    const dirty = this.#dirty
    if (dirty.length === 0) return
    this.#dirty = []
    for (const outbox of dirty) outbox.flush()
  }
}

const nothing = Buffer.alloc(0)

/** What an outbox holds at most. */
export interface OutboxLimit {
  bytes: number
  frames: number
}

const highWater = limits.highWaterPercent / 100

/** How full an outbox is: `slow` lies between its high-water mark and the limit. */
type Level = 'low' | 'slow' | 'full'

/**
 * What one session has still to get. From the high-water mark on it is slow, until half of that is gone. Beyond the limit, what may be
 * dropped or wait is refused until half of the limit is gone; beyond twice the limit, by frames that can do neither, it overflows.
 */
export class Outbox {
  readonly #socket: Duplex
  readonly #flusher: Flusher
  readonly #limit: OutboxLimit
  readonly #owner: OutboxOwner
  readonly #unsent = new Unsent()
  #run: Buffer | undefined
  #more: Buffer[] | undefined
  #bytes = 0
  #frames = 0
  #level: Level = 'low'
  /** Whether the kernel did not take the latest write at once. */
  #lags = true
  readonly #drain = () => {
    this.#unsent.left(this.#socket.writableLength)
    if (this.#level !== 'low') this.#fall()
  }

  constructor(options: { socket: Duplex; flusher: Flusher; limit: OutboxLimit; owner: OutboxOwner }) {
    this.#socket = options.socket
    this.#flusher = options.flusher
    this.#limit = options.limit
    this.#owner = options.owner
  }

  /** Bytes not yet taken by the kernel. */
  get pending(): number {
    return this.#bytes + this.#socket.writableLength
  }

  /** Frames not yet taken by the kernel. */
  get pendingFrames(): number {
    return this.#frames + this.#unsent.frames
  }

  /** Whether it is beyond its high-water mark, or was and has not caught up. */
  get slow(): boolean {
    return this.#level !== 'low'
  }

  get full(): boolean {
    return this.#level === 'full'
  }

  /** Queues whole WebSocket frames, so many, for the end of this tick; false: refused, the session is too slow. */
  offer(run: Buffer, frames: number): boolean {
    const { pending, pendingFrames } = this
    const { bytes: mostBytes, frames: mostFrames } = this.#limit
    // One run always fits, however large it may be.
    const fits = pending === 0 || (pending + run.length <= mostBytes && pendingFrames + frames <= mostFrames)
    if (this.#level === 'full' || !fits) {
      this.#rise('full')
      return false
    }
    this.#queue(run, frames)
    return true
  }

  /** Queues a frame that must not be dropped. */
  push(frame: Buffer): void {
    this.#queue(frame, 1)
    if (this.#isBeyond(2)) this.#owner.overflow()
  }

  flush(): void {
    if (this.#run === undefined) return
    this.#owner.writes()
    const run = this.#run
    if (run === undefined) return
    // The usual case is one run, which this socket shares with all that got the same.
    const all = this.#more === undefined ? run : Buffer.concat(this.#more, this.#bytes)
    const frames = this.#frames
    this.#run = undefined
    this.#more = undefined
    this.#bytes = 0
    this.#frames = 0
    if (!this.#socket.writable) return
    if (this.#write(all)) {
      // Too much may have come in one turn, all of which the kernel took: nobody else says that there is room again.
      if (this.#level !== 'low') process.nextTick(this.#drain)
      return
    }
    this.#unsent.add(all.length, frames)
    if (this.#level === 'low' && this.#isBeyond(highWater)) this.#rise('slow')
  }

  /** True: the kernel has taken it, and all before it. */
  #write(bytes: Buffer): boolean {
    const socket = this.#socket
    // What is to be told costs a turn of its own. Not the event 'drain': a write that fits the socket's own buffer is followed by none.
    const told = this.#lags
    if (told) socket.write(bytes, this.#drain)
    else socket.write(bytes)
    this.#lags = socket.writableLength > 0
    if (this.#lags && !told) socket.write(nothing, this.#drain)
    return !this.#lags
  }

  #queue(run: Buffer, frames: number): void {
    this.#bytes += run.length
    this.#frames += frames
    if (this.#run === undefined) {
      this.#run = run
      this.#flusher.add(this)
    } else if (this.#more === undefined) this.#more = [this.#run, run]
    else this.#more.push(run)
  }

  /** Whether it holds more than so many times its limit. */
  #isBeyond(share: number): boolean {
    return this.pending > share * this.#limit.bytes || this.pendingFrames > share * this.#limit.frames
  }

  #rise(level: Level): void {
    const before = this.#level
    this.#level = level
    if (before === 'low') this.#owner.slow()
  }

  #fall(): void {
    if (this.#level === 'full' && !this.#isBeyond(1 / 2)) {
      this.#level = 'slow'
      this.#owner.drained()
    }
    if (this.#level === 'slow' && !this.#isBeyond(highWater / 2)) {
      this.#level = 'low'
      this.#owner.caughtUp()
    }
  }
}

/** Whose outbox it is. */
export interface OutboxOwner {
  /** Something is about to be written: what can go along is queued now. */
  writes(): void
  /** It holds much of what it may hold. */
  slow(): void
  /** It is no longer slow. */
  caughtUp(): void
  /** A full outbox takes frames again. */
  drained(): void
  /** The peer takes nothing and yet causes more: it cannot be served any longer. */
  overflow(): void
}
