import type { NodeState } from '@damon/protocol/records'
import {
  type Assessment,
  assessCanary,
  assessContainer,
  assessLog,
  assessOutcomes,
  assessPlanner,
  assessStrain,
  lastSuccess,
  misconfiguration,
  streak,
} from './assessment.ts'
import { type Flaps, flapped, noFlaps, settle } from './flaps.ts'
import type { Look } from './lavalink.ts'
import type { Evidence } from './observation.ts'
import type { Thresholds } from './thresholds.ts'

/** The state of a node with its reasons in words, and what the next decision must know; all times in monotonic ms. */
export interface Health {
  state: NodeState
  reasons: readonly string[]
  /** When the state began. */
  since: number
  flaps: Flaps
  /** A track loaded or played at least once, perhaps before a restart of the sidecar. */
  played: boolean
  /** Since when it answers well without having been ready. */
  answersSince?: number | undefined
  /** Since when the addresses are blamed without one success. */
  blamedSince?: number | undefined
}

/** What somebody decided about a node; it outranks what was observed. */
export type Order = { state: 'draining' | 'retired'; reason: string } | undefined

/** What a decision is made of. */
export interface Case {
  evidence: Evidence
  order: Order
  now: number
  limits: Thresholds
  /** Tracks are loaded as a test: a new node waits for the first result. */
  canary: boolean
}

/** A node that nothing is known of. */
export function unknownHealth(now: number): Health {
  return { state: 'starting', reasons: ['not looked at yet'], since: now, flaps: noFlaps(now), played: false }
}

/**
 * Decides the state of a node from the state before, what was observed, and what was ordered. Keeps the state before while
 * the evidence is not enough for another.
 */
export function judge(before: Health, known: Case): Health {
  const { evidence, order, now, limits } = known
  const success = lastSuccess(evidence, now, limits)
  const settled: Health = {
    ...before,
    flaps: settle(before.flaps, now, limits),
    played: before.played || success !== undefined,
  }
  if (order) return change(settled, order.state, [order.reason], known)
  const last = evidence.look.at(-1)?.look
  if (!last) return before
  const absent = absence(settled, last, known)
  if (absent) return absent === settled ? settled : forgetBlame(absent)
  const wrong = misconfiguration(evidence, settled.played, now, limits)
  if (wrong !== undefined) return forgetBlame(change(settled, 'misconfigured', [wrong], known))
  return quality(settled, success, known)
}

/** The state of a node that cannot be used at all; undefined when it can, `before` itself while that is not sure. */
function absence(before: Health, last: Look, known: Case): Health | undefined {
  const { evidence, now, limits } = known
  const looks = evidence.look.map(({ look }) => look)
  if (last.kind === 'well') {
    if (before.state !== 'unreachable' && before.state !== 'misconfigured') return undefined
    return streak(looks, ({ kind }) => kind === 'well') >= limits.recoveries ? undefined : before
  }
  if (last.kind === 'refused') return change(before, 'misconfigured', [sentence(last.reason)], known)
  if (streak(looks, ({ kind }) => kind !== 'well') < limits.failures) return before
  const reasons = [`${sentence(last.reason)}, ${limits.failures} or more times in a row`]
  if (evidence.container.at(-1)?.health === 'stopped') reasons.push('its container is stopped')
  if (last.kind === 'foreign') return change(before, 'misconfigured', reasons, known)
  if (before.state === 'starting' && now - before.since < limits.startingMs) return before
  return change(before, 'unreachable', reasons, known)
}

/** The state of a node that answers well: whether it can also play. */
function quality(before: Health, success: number | undefined, known: Case): Health {
  const { evidence, now, limits } = known
  const blaming = [
    assessPlanner(evidence, now, limits),
    assessCanary(evidence, now, limits),
    assessOutcomes(evidence, now, limits),
    assessLog(evidence, now, limits),
  ]
  const straining = [assessStrain(evidence, limits), assessContainer(evidence)]
  const blames = reasonsOf(blaming)
  const strains = reasonsOf(straining)
  if (blames.length > 0) {
    const blamedSince = Math.max(before.blamedSince ?? now, success ?? Number.NEGATIVE_INFINITY)
    const spent = before.played && now - blamedSince >= limits.exhaustedMs
    const reasons = [...blames, ...strains]
    const state = spent || before.state === 'exhausted' ? 'exhausted' : 'suspect'
    return { ...change(before, state, reasons, known), blamedSince }
  }
  if (strains.length > 0 && before.state !== 'exhausted') return forgetBlame(change(before, 'suspect', strains, known))
  const tendencies = [...blaming, ...straining].map(({ tendency }) => tendency)
  if (before.state === 'exhausted' && !cleared(before, blaming, now, limits)) return before
  if (before.state === 'suspect' && tendencies.includes('unclear')) return before
  const answersSince = before.answersSince ?? now
  if (before.state === 'starting' && waits(before, answersSince, known)) {
    return { ...before, answersSince, reasons: ['waits for the first track to load'] }
  }
  const { flaps } = before
  if (flaps.damped && before.state !== 'ready') {
    const reason = 'came and went too often: it must stay well for a while'
    return forgetBlame(change(before, 'suspect', [reason], known))
  }
  return forgetBlame(change(before, 'ready', [], known))
}

/** Somebody saw it play again, and nobody doubts it; or every ban is over. */
function cleared(before: Health, blaming: readonly Assessment[], now: number, limits: Thresholds): boolean {
  if (now - before.since >= limits.banMs) return true
  const tendencies = blaming.map(({ tendency }) => tendency)
  return tendencies.includes('good') && !tendencies.includes('unclear')
}

/** A new node whose tracks fail goes on waiting: it will be suspect or load one. */
function waits({ played }: Health, answersSince: number, { evidence, canary, now, limits }: Case): boolean {
  if (!canary || played) return false
  return now - answersSince < limits.firstCanaryMs || assessCanary(evidence, now, limits).tendency === 'unclear'
}

function change(before: Health, state: NodeState, reasons: readonly string[], { now, limits }: Case): Health {
  if (before.state === state) return { ...before, reasons }
  const lost = before.state === 'ready' && state !== 'draining' && state !== 'retired'
  return { ...before, state, reasons, since: now, flaps: lost ? flapped(before.flaps, now, limits) : before.flaps }
}

function forgetBlame({ blamedSince: _, ...health }: Health): Health {
  return health
}

function reasonsOf(assessments: readonly Assessment[]): string[] {
  return assessments.flatMap((one) => (one.tendency === 'bad' ? [one.reason] : []))
}

function sentence(reason: string): string {
  return `Lavalink ${reason}`
}
