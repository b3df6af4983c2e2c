import type { Duplex } from 'node:stream'

/** Joins what one tick brings into one write per socket, whatever the order in which it came. */
export class Flusher {
  #dirty: Outbox[] = []

  add(outbox: Outbox): void {
    if (this.#dirty.push(outbox) === 1) setImmediate(() => this.#flush())
  }

  #flush(): void {
    const dirty = this.#dirty
    this.#dirty = []
    for (const outbox of dirty) outbox.flush()
  }
}

/**
 * What one session has still to get. Beyond the limit, what may be dropped or wait is refused until half of it is gone;
 * beyond twice the limit, by frames that can do neither, it overflows.
 */
export class Outbox {
  readonly #socket: Duplex
  readonly #flusher: Flusher
  readonly #limit: number
  readonly #drained: () => void
  readonly #overflow: () => void
  #frames: Buffer[] = []
  #bytes = 0
  #full = false

  constructor(options: {
    socket: Duplex
    flusher: Flusher
    /** Bytes. */
    limit: number
    /** Called when a full outbox takes frames again. */
    drained: () => void
    /** The peer takes nothing and yet causes more: it cannot be served any longer. */
    overflow: () => void
  }) {
    this.#socket = options.socket
    this.#flusher = options.flusher
    this.#limit = options.limit
    this.#drained = options.drained
    this.#overflow = options.overflow
  }

  /** Bytes not yet taken by the kernel. */
  get pending(): number {
    return this.#bytes + this.#socket.writableLength
  }

  get full(): boolean {
    return this.#full
  }

  /** Queues a whole WebSocket frame for the end of this tick; false: refused, the session is too slow. */
  offer(frame: Buffer): boolean {
    const { pending } = this
    // One frame always fits, however large it may be.
    if (this.#full || (pending > 0 && pending + frame.length > this.#limit)) {
      this.#full = true
      return false
    }
    this.#queue(frame)
    return true
  }

  /** Queues a frame that must not be dropped. */
  push(frame: Buffer): void {
    this.#queue(frame)
    if (this.pending > 2 * this.#limit) this.#overflow()
  }

  flush(): void {
    const frames = this.#frames
    if (frames.length === 0) return
    const bytes = this.#bytes
    this.#frames = []
    this.#bytes = 0
    if (!this.#socket.writable) return
    const joined = frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames, bytes)
    // Not the event 'drain': a write that fits the socket's own buffer is followed by none.
    this.#socket.write(joined, () => this.#drain())
  }

  #queue(frame: Buffer): void {
    if (this.#frames.push(frame) === 1) this.#flusher.add(this)
    this.#bytes += frame.length
  }

  #drain(): void {
    if (!this.#full || this.pending > this.#limit / 2) return
    this.#full = false
    this.#drained()
  }
}
