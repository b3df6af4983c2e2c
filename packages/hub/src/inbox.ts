import type { ClientFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'

/** Frames waiting at which the socket is no longer read, until they are done. */
const pauseAt = 64

/** What is read, or not read for a while. */
export interface Source {
  pause(): void
  resume(): void
}

/** A session's frames, handled one after another, so that they take effect in its client's order. */
export class Inbox {
  readonly #source: Source
  readonly #handle: (frame: ClientFrame) => Promise<void> | undefined
  readonly #overflow: () => void
  readonly #queue: ClientFrame[] = []
  #busy = false
  #paused = false
  #closed = false

  constructor(options: {
    source: Source
    /** MUST NOT throw or reject; a promise makes the next frame wait for it. */
    handle: (frame: ClientFrame) => Promise<void> | undefined
    /** Too many frames wait. */
    overflow: () => void
  }) {
    this.#source = options.source
    this.#handle = options.handle
    this.#overflow = options.overflow
  }

  /** Whether a frame is being handled that the next one has to wait for. */
  get busy(): boolean {
    return this.#busy
  }

  /** Whether the source is not read now. */
  get paused(): boolean {
    return this.#paused
  }

  take(frame: ClientFrame): void {
    if (this.#closed) return
    if (!this.#busy) this.#work(frame)
    else if (this.#queue.length >= limits.pendingFrames) this.#overflow()
    else if (this.#queue.push(frame) >= pauseAt && !this.#paused) {
      this.#paused = true
      this.#source.pause()
    }
  }

  /** Nothing is taken any more; what waits is forgotten, what is being handled ends. */
  close(): void {
    this.#closed = true
    this.#queue.length = 0
  }

  #work(first: ClientFrame | undefined): void {
    let frame = first
    while (frame && !this.#closed) {
      const pending = this.#handle(frame)
      if (pending) {
        this.#busy = true
        pending.then(() => this.#next())
        return
      }
      frame = this.#queue.shift()
    }
    if (this.#paused) {
      this.#paused = false
      this.#source.resume()
    }
  }

  #next(): void {
    this.#busy = false
    this.#work(this.#queue.shift())
  }
}
