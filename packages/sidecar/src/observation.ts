import type { FailureClass } from '@damon/protocol/audio'
import type { Look, TrackLoad } from './lavalink.ts'
import type { Thresholds } from './thresholds.ts'

/** What was seen of a node, by whom, and when: `at` in monotonic ms. */
export type Observation =
  | { source: 'look'; at: number; look: Look }
  | { source: 'canary'; at: number; track: string; load: Exclude<TrackLoad, { kind: 'unknown' }> }
  /** What bots reported in a short while, added up. */
  | { source: 'outcomes'; at: number; starts: number; failed: FailureCounts }
  /** A WARN line of the container. */
  | { source: 'log'; at: number; class: FailureClass }
  /** A finite pool of addresses: how many of it failed within `banMs`. */
  | { source: 'planner'; at: number; failing: number; size: number }
  | { source: 'container'; at: number; health: ContainerHealth }
  /** Somebody else asked the announced address; `reason` where it was not reached. */
  | { source: 'probe'; at: number; by: string; reached: boolean; reason?: string | undefined }

export type FailureCounts = Partial<Record<FailureClass, number>>
/** What Docker says of the container; `none` is one without a health check. */
export type ContainerHealth = 'starting' | 'healthy' | 'unhealthy' | 'none' | 'stopped'
export type Source = Observation['source']
type From<S extends Source> = Extract<Observation, { source: S }>

/** The observations that a decision looks back on, by source, oldest first. */
export type Evidence = { readonly [S in Source]: readonly From<S>[] }

/** Nothing seen yet. */
export const noEvidence: Evidence = {
  look: [],
  canary: [],
  outcomes: [],
  log: [],
  planner: [],
  container: [],
  probe: [],
}

/** The evidence with one more observation, without what no decision will look at again. */
export function remember(evidence: Evidence, observation: Observation, limits: Thresholds): Evidence {
  const { source, at } = observation
  const known: readonly Observation[] = evidence[source]
  const last = known.at(-1)
  // Two thousand bots report every 30 s: what comes together is added up.
  if (observation.source === 'outcomes' && last?.source === 'outcomes' && at - last.at < together)
    return { ...evidence, outcomes: [...evidence.outcomes.slice(0, -1), added(last, observation)] }
  const all = [...known, observation].filter((one) => at - one.at <= ageOf(source, limits))
  return { ...evidence, [source]: all.slice(-countOf(source, limits)) }
}

/** Reports of outcomes within this time are one observation, ms. */
const together = 5_000

function added(one: From<'outcomes'>, other: From<'outcomes'>): From<'outcomes'> {
  const failed: FailureCounts = { ...one.failed }
  for (const [name, count] of Object.entries(other.failed)) {
    const known = name as keyof FailureCounts
    failed[known] = (failed[known] ?? 0) + count
  }
  return { ...one, starts: one.starts + other.starts, failed }
}

/** The observations of one source that are not too old to count at `now`. */
export function fresh<S extends Source>(evidence: Evidence, source: S, now: number, limits: Thresholds): From<S>[] {
  const age = ageOf(source, limits)
  return (evidence[source] as readonly From<S>[]).filter(({ at }) => now - at <= age)
}

function ageOf(source: Source, { canaryMemoryMs, outcomesMs, logMs }: Thresholds): number {
  if (source === 'canary' || source === 'planner') return canaryMemoryMs
  if (source === 'outcomes') return outcomesMs
  return source === 'log' ? logMs : Number.POSITIVE_INFINITY
}

function countOf(source: Source, limits: Thresholds): number {
  switch (source) {
    case 'look':
      return Math.max(limits.failures, limits.recoveries, limits.strainLooks)
    case 'canary':
      return Math.max(limits.canaryFailures, limits.canaryRecoveries, limits.neverPlayed)
    case 'log':
      return limits.logLines + limits.bindLines
    case 'outcomes':
      return Math.ceil(limits.outcomesMs / together) + 1
    case 'probe':
      return limits.probes
    default:
      return 1
  }
}
