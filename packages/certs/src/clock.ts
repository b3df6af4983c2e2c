import { delay } from '@damon/runtime/retry'

/** The time, from outside. */
export interface Clock {
  /** Unix ms. */
  now(): number
  /**
   * Resolves once `now()` has reached `at`. MUST work for any distance (a timer of Node's overflows after 24.8 days) and
   * MUST notice within minutes that the clock was set; rejects with the signal's reason when it is aborted.
   */
  until(at: number, signal: AbortSignal): Promise<void>
}

const longestMs = 5 * 60_000

/** The machine's clock: long waits are chains of short ones. */
export const systemClock: Clock = {
  now: Date.now,
  async until(at, signal) {
    for (let left = at - Date.now(); left > 0; left = at - Date.now()) await delay(Math.min(left, longestMs), signal)
    signal.throwIfAborted()
  },
}
