import type { MessageFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'

/** How long after its deadline an answer is still passed on, to be counted as late there, ms. */
const graceMs = 1_000

/** Requests that one session was given and has not answered: only to these it may speak. */
export class Unanswered {
  /** Until when, monotonic ms, oldest first. */
  #until: Map<string, number> | undefined

  /** Until when it may answer what is not known here, monotonic ms. */
  #trusted = Number.NEGATIVE_INFINITY

  get size(): number {
    return this.#until?.size ?? 0
  }

  /** It was given a request; beyond the limit the oldest is forgotten. */
  add(frame: MessageFrame, now: number): void {
    this.#until ??= new Map()
    this.#until.set(name(frame.session, frame.number), now + frame.deadline + graceMs)
    if (this.#until.size <= limits.unansweredRequests) return
    const [oldest] = this.#until.keys()
    if (oldest !== undefined) this.#until.delete(oldest)
  }

  /**
   * It was given requests elsewhere, of which nothing is known here: until the last of them is past its time, whoever
   * collects the answers says alone which of them count.
   */
  trust(now: number): void {
    this.#trusted = now + limits.deadlineMs + graceMs
  }

  /** Whether the request of that session waits for it. */
  has(session: string, request: number): boolean {
    return this.#isTrusted || (this.#until?.has(name(session, request)) ?? false)
  }

  /** It gives its final word; false: nothing waits for that. */
  settle(session: string, request: number): boolean {
    return (this.#until?.delete(name(session, request)) ?? false) || this.#isTrusted
  }

  get #isTrusted(): boolean {
    return performance.now() < this.#trusted
  }

  /** Forgets what is past its time. */
  expire(now: number): void {
    for (const [key, until] of this.#until ?? []) if (until < now) this.#until?.delete(key)
    if (this.#until?.size === 0) this.#until = undefined
  }
}

function name(session: string, request: number): string {
  return `${session}/${request}`
}
