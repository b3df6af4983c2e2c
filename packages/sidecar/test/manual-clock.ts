import type { Clock } from '../src/clock.ts'

/** A clock that stands still until it is told to go on; `unix` starts at 1,000,000. */
export class ManualClock implements Clock {
  #now = 0
  #sleepers: { until: number; wake: () => void }[] = []
  #onSleep = () => {}

  now(): number {
    return this.#now
  }

  unix(): number {
    return 1_000_000 + this.#now
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    if (signal.aborted) reject(signal.reason)
    const sleeper = { until: this.#now + ms, wake: resolve }
    this.#sleepers.push(sleeper)
    signal.addEventListener('abort', () => {
      this.#sleepers = this.#sleepers.filter((other) => other !== sleeper)
      reject(signal.reason)
    })
    this.#onSleep()
    return promise
  }

  /** How many ms until somebody wakes, shortest first. */
  get pauses(): number[] {
    return this.#sleepers.map(({ until }) => until - this.#now).sort((a, b) => a - b)
  }

  /** Resolves once so many sleep at the same time. */
  sleeping(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#onSleep = () => this.#sleepers.length >= count && resolve()
      this.#onSleep()
    })
  }

  /** Goes on by so many ms and wakes whoever is due. */
  advance(ms: number): void {
    this.#now += ms
    const due = this.#sleepers.filter(({ until }) => until <= this.#now)
    this.#sleepers = this.#sleepers.filter(({ until }) => until > this.#now)
    for (const { wake } of due) wake()
  }
}
