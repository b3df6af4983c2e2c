import type { NodeState } from '@damon/protocol/records'
import { type Health, judge, unknownHealth } from '../src/decision.ts'
import type { Load, Look } from '../src/lavalink.ts'
import { type Evidence, noEvidence, type Observation, remember } from '../src/observation.ts'
import { defaultThresholds, type Thresholds } from '../src/thresholds.ts'

/** An observation as it was recorded, ms from the beginning. */
export type Recorded = Observation

/** A good look, with these figures. */
export function lookWell(load: Partial<Load> = {}): Extract<Look, { kind: 'well' }> {
  return {
    kind: 'well',
    version: '4.2.2',
    api: 'v4',
    product: 'lavalink',
    plugins: [],
    load: {
      players: 1,
      playingPlayers: 1,
      systemLoad: 0.1,
      lavalinkLoad: 0.1,
      memoryUsed: 100,
      memoryReservable: 1_000,
      uptime: 1,
      ...load,
    },
  }
}

/**
 * Plays a recording: its observations in order of time, with a good look every 5 s wherever the recording has none of its
 * own nearby, until `untilMs` (10 min after the last). Tells every change of state and when it came.
 */
export function play(
  recording: readonly Recorded[],
  options: { limits?: Thresholds; before?: Health; untilMs?: number } = {},
): { changes: [NodeState, number][]; health: Health } {
  const limits = options.limits ?? defaultThresholds
  const own = recording.filter(({ source }) => source === 'look').map(({ at }) => at)
  const end = options.untilMs ?? Math.max(...recording.map(({ at }) => at)) + 600_000
  const all = [...recording]
  for (let at = 0; at <= end; at += 5_000) {
    if (own.every((other) => Math.abs(other - at) >= 5_000)) all.push({ source: 'look', at, look: lookWell() })
  }
  // Sorting is stable: what was recorded comes before the look of the same moment.
  all.sort((a, b) => a.at - b.at)
  let evidence: Evidence = noEvidence
  let health = options.before ?? unknownHealth(0)
  const changes: [NodeState, number][] = options.before ? [[health.state, health.since]] : []
  for (const observation of all) {
    evidence = remember(evidence, observation, limits)
    const next = judge(health, { evidence, order: undefined, now: observation.at, limits, canary: true })
    if (next.state !== health.state || changes.length === 0) changes.push([next.state, observation.at])
    health = next
  }
  return { changes: changes[1]?.[1] === changes[0]?.[1] ? changes.slice(1) : changes, health }
}
