import type { NodeState } from '@damon/protocol/records'
import type { Look } from './lavalink.ts'

/** A look and when it was made, monotonic ms. */
export interface Observation {
  at: number
  look: Look
}

/** The state of a node with its reasons in words; `since` is when the state began, monotonic ms. */
export interface Health {
  state: NodeState
  reasons: string[]
  since: number
}

/** What somebody decided about a node; it outranks what was observed. */
export type Order = 'drain' | 'retire' | undefined

/** How much evidence a change of state takes. */
export const thresholds = {
  /** Silent or foreign looks in a row before a working node is called so: one lost answer is no outage. */
  failures: 3,
  /** Good looks in a row before a failed node is ready again: it must not flap with every answer that gets through. */
  recoveries: 2,
  /** Looks in a row without a playing player before a draining node counts as empty: one may fall between two tracks. */
  quiet: 2,
  /** How long a Lavalink that was never seen may take to answer: a JVM on a small VPS needs up to a minute. */
  startingMs: 120_000,
} as const

/** How many observations, newest last, `judge` looks back on. */
export const memory = Math.max(thresholds.failures, thresholds.recoveries)

/**
 * Decides the state of a node from the state before, the newest observations (oldest first) and what was ordered.
 * Keeps `since` and the state before while the evidence is not enough for another.
 */
export function judge(before: Health, observations: readonly Observation[], order: Order, now: number): Health {
  if (order === 'retire') return change(before, 'retired', ['retired'], now)
  if (order === 'drain') return change(before, 'draining', ['asked to stop'], now)
  const last = observations.at(-1)?.look
  if (!last) return before
  if (last.kind === 'refused') return change(before, 'misconfigured', [sentence(last.reason)], now)
  if (last.kind === 'well') {
    if (before.state === 'ready' || before.state === 'starting') return change(before, 'ready', [], now)
    return streak(observations, (look) => look.kind === 'well') >= thresholds.recoveries
      ? change(before, 'ready', [], now)
      : before
  }
  const failed = streak(observations, (look) => look.kind !== 'well')
  if (failed < thresholds.failures) return before
  const reasons = [`${sentence(last.reason)}, ${thresholds.failures} or more times in a row`]
  if (last.kind === 'foreign') return change(before, 'misconfigured', reasons, now)
  if (before.state === 'starting' && now - before.since < thresholds.startingMs) return before
  return change(before, 'unreachable', reasons, now)
}

function change(before: Health, state: NodeState, reasons: string[], now: number): Health {
  return { state, reasons, since: before.state === state ? before.since : now }
}

function streak(observations: readonly Observation[], is: (look: Look) => boolean): number {
  const stop = observations.findLastIndex(({ look }) => !is(look))
  return observations.length - 1 - stop
}

function sentence(reason: string): string {
  return `Lavalink ${reason}`
}

/** How often to look, all in ms. */
export interface Rhythm {
  pollMs: number
  /** Between looks that decide something: while starting, while an outage or recovery shows, while draining. */
  quickMs: number
  /** After a refused password: NodeLink bans an address for 15 minutes after 5 wrong ones in one. */
  refusedMs: number
}

/** How long to wait before the next look. */
export function pause(health: Health, last: Look | undefined, { pollMs, quickMs, refusedMs }: Rhythm): number {
  if (last?.kind === 'refused') return refusedMs
  const settled = health.state === 'ready' ? last?.kind === 'well' : last?.kind !== 'well'
  const deciding = health.state === 'starting' || health.state === 'draining' || !settled
  return deciding ? Math.min(quickMs, pollMs) : pollMs
}
