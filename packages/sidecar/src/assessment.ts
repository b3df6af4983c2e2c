import type { FailureClass } from '@damon/protocol/audio'
import { type Evidence, type FailureCounts, fresh } from './observation.ts'
import type { Thresholds } from './thresholds.ts'

/** What one source says of a node now: `unclear` is not enough to change a mind either way. */
export type Assessment =
  | { tendency: 'bad'; reason: string }
  | { tendency: 'good' }
  | { tendency: 'unclear' }
  /** It has nothing to say. */
  | { tendency: 'none' }

const good: Assessment = { tendency: 'good' }
const unclear: Assessment = { tendency: 'unclear' }
const none: Assessment = { tendency: 'none' }
const bad = (reason: string): Assessment => ({ tendency: 'bad', reason })

/** The classes as people read them. */
export const classWords: Record<FailureClass, string> = {
  rate: 'rate-limited',
  bot: 'not a bot',
  bind: 'cannot assign requested address',
  gone: 'track not available',
  other: 'other failures',
}

/** Loads of known tracks, made by the sidecar. */
export function assessCanary(evidence: Evidence, now: number, limits: Thresholds): Assessment {
  const results = verdicts(evidence, now, limits)
  const last = results.at(-1)
  if (!last) return none
  const failed = results.slice(results.length - streak(results, ({ load }) => load.kind === 'failed'))
  const classes = failed.flatMap(({ load }) => (load.kind === 'failed' ? [load.class] : []))
  const blaming = classes.filter((one) => one !== 'other')
  const enough = blaming.length >= limits.canaryFailures || failed.length >= limits.neverPlayed
  if (enough && new Set(failed.map(({ track }) => track)).size > 1)
    return bad(`canary failed ${failed.length} x: ${classWords[blaming.at(-1) ?? 'other']}`)
  const succeeded = streak(results, ({ load }) => load.kind === 'loaded')
  if (succeeded >= limits.canaryRecoveries) return good
  return succeeded === results.length ? none : unclear
}

/** What happened to the listeners, as the bots tell it. */
export function assessOutcomes(evidence: Evidence, now: number, limits: Thresholds): Assessment {
  const reports = fresh(evidence, 'outcomes', now, limits)
  const starts = sum(reports.map((report) => report.starts))
  if (starts < limits.outcomesStarts) return none
  const blaming = reports.map(({ failed }) => ({ ...failed, gone: 0 }))
  const failed = sum(blaming.map(total))
  const share = failed / starts
  if (share >= limits.outcomesFailed) {
    const minutes = Math.round(limits.outcomesMs / 60_000)
    return bad(`${failed} of ${starts} starts failed in ${minutes} min: ${classWords[mostOf(blaming)]}`)
  }
  return share < limits.outcomesRecovered ? good : unclear
}

/** WARN lines of the container. Their absence proves nothing. */
export function assessLog(evidence: Evidence, now: number, limits: Thresholds): Assessment {
  const lines = fresh(evidence, 'log', now, limits).filter((line) => line.class === 'rate' || line.class === 'bot')
  if (lines.length >= limits.logLines) return bad(`${lines.length} or more log lines tell of rate limits`)
  return lines.length >= limits.logLines / 2 ? unclear : none
}

/** The share of a finite pool that failed. */
export function assessPlanner(evidence: Evidence, now: number, limits: Thresholds): Assessment {
  const last = fresh(evidence, 'planner', now, limits).at(-1)
  if (!last) return none
  const share = last.failing / Math.max(last.size, 1)
  if (share >= limits.plannerFailing) return bad(`${last.failing} of ${last.size} addresses failing`)
  return share < limits.plannerRecovered ? good : unclear
}

/** Whether the machine carries its load; each figure by itself, so that one does not excuse another. */
export function assessStrain(evidence: Evidence, limits: Thresholds): Assessment {
  const looks = evidence.look.flatMap(({ look }) => (look.kind === 'well' ? [look] : [])).slice(-limits.strainLooks)
  const figures = [
    { word: 'CPU', mark: limits.strainLoad, values: looks.map(({ load }) => load.systemLoad) },
    {
      word: 'memory',
      mark: limits.strainMemory,
      values: looks.map(({ load }) => load.memoryUsed / Math.max(load.memoryReservable, 1)),
    },
    { word: 'late frames', mark: limits.strainFrames, values: looks.map(({ lateFrames = 0 }) => lateFrames) },
  ]
  const over = figures.filter(
    ({ values, mark }) => values.length >= limits.strainLooks && values.every((value) => value >= mark),
  )
  if (over.length > 0) {
    const said = over.map(({ word, values }) => `${word} at ${Math.round((values.at(-1) ?? 0) * 100)} %`)
    return bad(`overloaded: ${said.join(', ')}`)
  }
  return figures.some(({ values, mark }) => values.some((value) => value >= mark * limits.strainRelief))
    ? unclear
    : none
}

/** What Docker's health check says. */
export function assessContainer(evidence: Evidence): Assessment {
  const health = evidence.container.at(-1)?.health
  return health === 'unhealthy' ? bad('its container is unhealthy') : none
}

/** Settings that no other machine would cure, in words; undefined where none shows. */
export function misconfiguration(
  evidence: Evidence,
  played: boolean,
  now: number,
  limits: Thresholds,
): string | undefined {
  const results = verdicts(evidence, now, limits)
  const bind = streak(results, ({ load }) => load.kind === 'failed' && load.class === 'bind')
  const lines = fresh(evidence, 'log', now, limits).filter((line) => line.class === 'bind').length
  if (bind >= Math.min(2, limits.canaryFailures) || lines >= limits.bindLines)
    return 'cannot assign requested address: an address block is not routed to this machine, or ip_nonlocal_bind is off'
  const failed = streak(results, ({ load }) => load.kind === 'failed')
  if (!played && failed >= limits.neverPlayed) return `no track ever loaded, ${failed} tried`
  const probes = evidence.probe
  const last = probes.at(-1)
  const missed = streak(probes, ({ reached }) => !reached)
  if (last && missed >= limits.probes) return `bots do not reach its address: ${last.reason ?? 'no answer'}`
  return undefined
}

/** When a track was last seen to load or to play, monotonic ms: by the canary where there is one, else by the bots. */
export function lastSuccess(evidence: Evidence, now: number, limits: Thresholds): number | undefined {
  const results = verdicts(evidence, now, limits)
  if (results.length > 0) return results.findLast(({ load }) => load.kind === 'loaded')?.at
  return evidence.outcomes.findLast(
    ({ starts, failed }) => starts > 0 && total(failed) / starts < limits.outcomesFailed,
  )?.at
}

/** How many at the end of a list are so. */
export function streak<T>(all: readonly T[], is: (one: T) => boolean): number {
  return all.length - 1 - all.findLastIndex((one) => !is(one))
}

/** Canary results that tell something of the node: a video that is gone does not. */
function verdicts(evidence: Evidence, now: number, limits: Thresholds) {
  return fresh(evidence, 'canary', now, limits).filter(({ load }) => load.kind === 'loaded' || load.class !== 'gone')
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0)
const total = (failed: FailureCounts): number => sum(Object.values(failed))

function mostOf(counts: readonly FailureCounts[]): FailureClass {
  const classes = Object.keys(classWords) as FailureClass[]
  const amount = (name: FailureClass) => sum(counts.map((one) => one[name] ?? 0))
  return classes.reduce((most, name) => (amount(name) > amount(most) ? name : most))
}
