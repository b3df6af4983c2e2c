import type { Clock } from '../src/clock.ts'

/** A clock that stands still until it is moved. */
export class ManualClock implements Clock {
  #now: number
  readonly #waiting = new Set<{ at: number; resolve: () => void }>()
  #slept = Promise.withResolvers<void>()

  constructor(now: number) {
    this.#now = now
  }

  now = () => this.#now

  /** What the sleepers wait for, earliest first. */
  get alarms(): number[] {
    return [...this.#waiting].map(({ at }) => at).sort((a, b) => a - b)
  }

  /** How many sleep. */
  get sleeping(): number {
    return this.#waiting.size
  }

  /** Sets the time to when the first of them wants to wake. */
  setToNext(): void {
    let next = Number.POSITIVE_INFINITY
    for (const { at } of this.#waiting) next = Math.min(next, at)
    this.set(next)
  }

  /** Resolves when the next one lies down. */
  get nextSleep(): Promise<void> {
    return this.#slept.promise
  }

  /** Resolves as soon as somebody sleeps. */
  get slept(): Promise<void> {
    return this.#waiting.size > 0 ? Promise.resolve() : this.#slept.promise
  }

  /** Sets the time, forwards, and wakes who waited for it. */
  set(now: number): void {
    this.#now = now
    for (const sleeper of this.#waiting) {
      if (sleeper.at > now) continue
      this.#waiting.delete(sleeper)
      sleeper.resolve()
    }
  }

  until(at: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason)
    if (at <= this.#now) return Promise.resolve()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const sleeper = { at, resolve }
    this.#waiting.add(sleeper)
    this.#slept.resolve()
    this.#slept = Promise.withResolvers()
    signal.addEventListener('abort', () => {
      this.#waiting.delete(sleeper)
      reject(signal.reason)
    })
    return promise
  }
}
