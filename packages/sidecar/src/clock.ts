import { delay } from '@damon/runtime/retry'

/** Time, from outside. */
export interface Clock {
  /** Monotonic ms: for durations and order. */
  now(): number
  /** Unix ms: for what people and other machines read. */
  unix(): number
  /** Resolves after `ms`; rejects with the signal's reason as soon as it is aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

/** The clock of this machine. */
export const systemClock: Clock = { now: () => performance.now(), unix: () => Date.now(), sleep: delay }
