import type { Thresholds } from './thresholds.ts'

/** How often a node lost its readiness lately: a sum of losses, each halved in every half-life, as of `at` (monotonic ms). */
export interface Flaps {
  sum: number
  at: number
  /** Held back until the sum has fallen to `flapReuse`. */
  damped: boolean
}

/** A node that never lost it. */
export function noFlaps(now: number): Flaps {
  return { sum: 0, at: now, damped: false }
}

/** The sum as of now, and whether the node is still held back. */
export function settle({ sum, at, damped }: Flaps, now: number, limits: Thresholds): Flaps {
  const rest = limits.flapHalfLifeMs > 0 ? sum * 0.5 ** ((now - at) / limits.flapHalfLifeMs) : 0
  return { sum: rest, at: now, damped: damped && rest > limits.flapReuse }
}

/** One loss more. */
export function flapped(flaps: Flaps, now: number, limits: Thresholds): Flaps {
  const { sum, damped } = settle(flaps, now, limits)
  const next = Math.min(sum + 1, limits.flapMost)
  return { sum: next, at: now, damped: damped || next >= limits.flapSuppress }
}
