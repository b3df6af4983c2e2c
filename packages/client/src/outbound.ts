import { type DamonError, damonError } from '@damon/protocol/errors'
import type { ClientPartFrame, ReplyFrame, RequestFrame, SendFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { unrefTimer } from './deferred.ts'

/** A frame that is numbered when it is sent. */
export type Numbered = SendFrame | RequestFrame | ReplyFrame | ClientPartFrame

/** What may be unacknowledged; the rest waits here, not in the hub. */
const window = { frames: limits.pendingFrames / 2, bytes: limits.outboxBytes }
/** What may wait for a connection or a place in the window. */
const waiting = { frames: 8 * limits.pendingFrames, bytes: 16 * limits.outboxBytes }
/** Header and names of a frame, at most. */
const headBytes = 1_024

/** One frame on its way, and who wants to know about it. */
export interface Outgoing {
  frame: Numbered
  /** Only the session with this id may send it; undefined: any. */
  session?: string | undefined
  /** Monotonic ms by which it must be acknowledged. */
  expiresAt: number
  /** It has its number and is on its way. */
  sent?(number: number): void
  /** Exactly once: without error when it is safe. */
  done(error?: DamonError): void
}

/**
 * Numbers, sends, and waits for acknowledgement of a session's frames: in order, within a window, and no longer than
 * each may take. A frame's end is told exactly once.
 */
export class Outbound {
  readonly #transmit: (frame: Numbered) => void
  readonly #waiting = new Set<Outgoing>()
  /** By number. Kept until acknowledged, also when already refused: a resume repeats by number. */
  readonly #unacknowledged = new Map<number, Outgoing>()
  readonly #told = new WeakSet<Outgoing>()
  #waitingBytes = 0
  #unacknowledgedBytes = 0
  #number = 0
  #open = false
  #session: string | undefined
  #frameBytes: number = limits.frameBytes
  #end: DamonError | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #wakesAt = Number.POSITIVE_INFINITY
  #onEmpty: (() => void)[] = []

  constructor(transmit: (frame: Numbered) => void) {
    this.#transmit = transmit
  }

  /** Sends it now, or when there is a connection and a place in the window. Refuses at once what can never go. */
  add(outgoing: Outgoing): void {
    const size = outgoing.frame.payload.length
    const refused = this.#end ?? this.#refusal(size)
    if (refused) {
      this.#tell(outgoing, refused)
      return
    }
    this.#waiting.add(outgoing)
    this.#waitingBytes += size
    this.#wake(outgoing.expiresAt)
    this.#flush()
  }

  /** Takes back what was not sent yet; says whether it could. Its end is not told. */
  withdraw(outgoing: Outgoing): boolean {
    if (!this.#waiting.delete(outgoing)) return false
    this.#waitingBytes -= outgoing.frame.payload.length
    this.#told.add(outgoing)
    this.#checkEmpty()
    return true
  }

  /** The last number that was given. */
  get sent(): number {
    return this.#number
  }

  /** The number up to which everything is acknowledged. */
  get settled(): number {
    const [first] = this.#unacknowledged.keys()
    return first === undefined ? this.#number : first - 1
  }

  /** A session begins: what was under way in the one before has an unknown outcome, and numbers start again. */
  begin(session: string, frameBytes: number): void {
    const lost = [...this.#unacknowledged.values()]
    this.#number = 0
    this.#unacknowledged.clear()
    this.#unacknowledgedBytes = 0
    for (const outgoing of lost) this.#tell(outgoing, damonError('unknown_outcome'))
    this.#up(session, frameBytes)
  }

  /** The session goes on behind its frame `done`: what is not acknowledged is repeated under its old numbers. */
  resume(session: string, frameBytes: number, done: number): void {
    this.acknowledge(done)
    for (const { frame } of this.#unacknowledged.values()) this.#transmit({ ...frame, again: true })
    this.#up(session, frameBytes)
  }

  /** The connection is gone: what comes now waits. */
  down(): void {
    this.#open = false
  }

  /** Everything up to `number` is safe, or was refused before. */
  acknowledge(number: number): void {
    for (const [own, outgoing] of this.#unacknowledged) {
      if (own > number) break
      this.#unacknowledged.delete(own)
      this.#unacknowledgedBytes -= outgoing.frame.payload.length
      this.#tell(outgoing)
    }
    this.#flush()
  }

  /** The hub refused this one. */
  refuse(number: number, error: DamonError): void {
    const outgoing = this.#unacknowledged.get(number)
    if (outgoing) this.#tell(outgoing, error)
  }

  /** Nothing is sent any more: what waits ends with the error, what is unacknowledged with `unknown_outcome`. */
  close(error: DamonError): void {
    this.#end = error
    this.#open = false
    clearTimeout(this.#timer)
    const waits = [...this.#waiting]
    const lost = [...this.#unacknowledged.values()]
    this.#waiting.clear()
    this.#unacknowledged.clear()
    for (const outgoing of waits) this.#tell(outgoing, error)
    for (const outgoing of lost) this.#tell(outgoing, damonError('unknown_outcome', undefined, { cause: error }))
    this.#checkEmpty()
  }

  /** Resolves when the end of every frame is told. */
  empty(): Promise<void> {
    return new Promise((resolve) => {
      this.#onEmpty.push(resolve)
      this.#checkEmpty()
    })
  }

  #up(session: string, frameBytes: number): void {
    this.#session = session
    this.#frameBytes = frameBytes
    this.#open = true
    this.#flush()
  }

  #refusal(size: number): DamonError | undefined {
    if (size + headBytes > this.#frameBytes) return damonError('too_large', `${size} bytes.`, { field: 'payload' })
    const full = this.#waiting.size >= waiting.frames || this.#waitingBytes + size > waiting.bytes
    return full ? damonError('overloaded', 'Too much already waits to be sent.') : undefined
  }

  #flush(): void {
    if (!this.#open) return
    for (const outgoing of this.#waiting) {
      const size = outgoing.frame.payload.length
      const full =
        this.#unacknowledged.size >= window.frames ||
        (this.#unacknowledged.size > 0 && this.#unacknowledgedBytes + size > window.bytes)
      if (full) return
      this.#waiting.delete(outgoing)
      this.#waitingBytes -= size
      if (outgoing.session !== undefined && outgoing.session !== this.#session) {
        this.#tell(outgoing, damonError('unknown_outcome'))
      } else if (size + headBytes > this.#frameBytes) {
        this.#tell(outgoing, damonError('too_large', `${size} bytes.`, { field: 'payload' }))
      } else {
        const number = ++this.#number
        outgoing.frame = { ...outgoing.frame, number }
        this.#unacknowledged.set(number, outgoing)
        this.#unacknowledgedBytes += size
        this.#transmit(outgoing.frame)
        outgoing.sent?.(number)
      }
    }
  }

  #tell(outgoing: Outgoing, error?: DamonError): void {
    if (this.#told.has(outgoing)) return
    this.#told.add(outgoing)
    outgoing.done(error)
    this.#checkEmpty()
  }

  #checkEmpty(): void {
    if (this.#onEmpty.length === 0 || this.#waiting.size > 0) return
    for (const outgoing of this.#unacknowledged.values()) if (!this.#told.has(outgoing)) return
    const waiters = this.#onEmpty
    this.#onEmpty = []
    for (const resolve of waiters) resolve()
  }

  /** One timer for all: set to the earliest end, and looked at again when that has come. */
  #wake(at: number): void {
    if (at >= this.#wakesAt) return
    clearTimeout(this.#timer)
    this.#wakesAt = at
    this.#timer = unrefTimer(() => this.#expire(), at - performance.now() + 1)
  }

  #expire(): void {
    const now = performance.now()
    this.#wakesAt = Number.POSITIVE_INFINITY
    for (const outgoing of [...this.#waiting]) {
      if (outgoing.expiresAt > now) this.#wake(outgoing.expiresAt)
      else if (this.withdraw(outgoing))
        outgoing.done(
          this.#open
            ? damonError('timed_out', 'It was not sent: too much is unacknowledged.')
            : damonError('disconnected', 'It was not sent.'),
        )
    }
    for (const outgoing of this.#unacknowledged.values()) {
      if (this.#told.has(outgoing)) continue
      if (outgoing.expiresAt > now) this.#wake(outgoing.expiresAt)
      else this.#tell(outgoing, damonError('unknown_outcome', 'It was sent, but not acknowledged in time.'))
    }
  }
}
