import type { Duplex } from 'node:stream'
import type { Tick } from './tick.ts'

/** At the end of each tick, writes what every outbox holds. */
export class Flusher {
  readonly #tick: Tick
  #dirty: Outbox[] = []

  /** MUST be made after whatever fills outboxes at the end of a tick. */
  constructor(tick: Tick) {
    this.#tick = tick
    tick.phase(() => this.#flush())
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

/**
 * What one session has still to get. Beyond the limit, what may be dropped or wait is refused until half of it is gone;
 * beyond twice the limit, by frames that can do neither, it overflows.
 */
export class Outbox {
  readonly #socket: Duplex
  readonly #flusher: Flusher
  readonly #limit: number
  readonly #owner: OutboxOwner
  #run: Buffer | undefined
  #more: Buffer[] | undefined
  #bytes = 0
  #full = false
  readonly #drain = () => {
    if (!this.#full || this.pending > this.#limit / 2) return
    this.#full = false
    this.#owner.drained()
  }

  constructor(options: {
    socket: Duplex
    flusher: Flusher
    /** Bytes. */
    limit: number
    owner: OutboxOwner
  }) {
    this.#socket = options.socket
    this.#flusher = options.flusher
    this.#limit = options.limit
    this.#owner = options.owner
  }

  /** Bytes not yet taken by the kernel. */
  get pending(): number {
    return this.#bytes + this.#socket.writableLength
  }

  get full(): boolean {
    return this.#full
  }

  /** Queues whole WebSocket frames for the end of this tick; false: refused, the session is too slow. */
  offer(run: Buffer): boolean {
    const { pending } = this
    // One run always fits, however large it may be.
    if (this.#full || (pending > 0 && pending + run.length > this.#limit)) {
      this.#full = true
      return false
    }
    this.#queue(run)
    return true
  }

  /** Queues what must not be dropped. */
  push(run: Buffer): void {
    this.#queue(run)
    if (this.pending > 2 * this.#limit) this.#owner.overflow()
  }

  flush(): void {
    if (this.#run === undefined) return
    this.#owner.writes()
    const run = this.#run
    if (run === undefined) return
    // The usual case is one run, which this socket shares with all that got the same.
    const all = this.#more === undefined ? run : Buffer.concat(this.#more, this.#bytes)
    this.#run = undefined
    this.#more = undefined
    this.#bytes = 0
    if (!this.#socket.writable) return
    // Not the event 'drain': a write that fits the socket's own buffer is followed by none.
    this.#socket.write(all, this.#drain)
  }

  #queue(run: Buffer): void {
    this.#bytes += run.length
    if (this.#run === undefined) {
      this.#run = run
      this.#flusher.add(this)
    } else if (this.#more === undefined) this.#more = [this.#run, run]
    else this.#more.push(run)
  }
}

/** Whose outbox it is. */
export interface OutboxOwner {
  /** Something is about to be written: what can go along is queued now. */
  writes(): void
  /** A full outbox takes frames again. */
  drained(): void
  /** The peer takes nothing and yet causes more: it cannot be served any longer. */
  overflow(): void
}
