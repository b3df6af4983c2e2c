import type { ClientFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'

/** Frames waiting at which the socket is no longer read, until they are done. */
const pauseAt = 64

/** What is read, or not read for a while. */
export interface Source {
  pause(): void
  resume(): void
}

/** Who handles the frames. */
export interface InboxOwner {
  /** MUST NOT throw or reject; a promise makes the next frame wait for it. */
  handle(frame: ClientFrame): Promise<void> | undefined
  /** Too many frames wait. */
  crowded(): void
}

/** A session's frames, handled one after another, so that they take effect in its client's order. */
export class Inbox {
  readonly #source: Source
  readonly #owner: InboxOwner
  #queue: ClientFrame[] | undefined
  #busy = false
  #paused = false
  #closed = false

  constructor(source: Source, owner: InboxOwner) {
    this.#source = source
    this.#owner = owner
  }

  /** Whether a frame is being handled that the next one has to wait for. */
  get busy(): boolean {
    return this.#busy
  }

  /** Whether a frame would be handled at once. */
  get free(): boolean {
    return !this.#busy && !this.#closed
  }

  /** Whether the source is not read now. */
  get paused(): boolean {
    return this.#paused
  }

  take(frame: ClientFrame): void {
    if (this.#closed) return
    if (!this.#busy) this.#work(frame)
    else if ((this.#queue?.length ?? 0) >= limits.pendingFrames) this.#owner.crowded()
    else {
      this.#queue ??= []
      if (this.#queue.push(frame) < pauseAt || this.#paused) return
      this.#paused = true
      this.#source.pause()
    }
  }

  /** Nothing is taken any more; what waits is forgotten, what is being handled ends. */
  close(): void {
    this.#closed = true
    this.#queue = undefined
  }

  #work(first: ClientFrame | undefined): void {
    let frame = first
    while (frame && !this.#closed) {
      const pending = this.#owner.handle(frame)
      if (pending) {
        this.#busy = true
        pending.then(() => this.#next())
        return
      }
      frame = this.#queue?.shift()
    }
    if (this.#paused) {
      this.#paused = false
      this.#source.resume()
    }
  }

  #next(): void {
    this.#busy = false
    this.#work(this.#queue?.shift())
  }
}
