import { failureClasses } from '@damon/protocol/audio'
import type { NodeState } from '@damon/protocol/records'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type Health, judge, unknownHealth } from '../src/decision.ts'
import type { Look } from '../src/lavalink.ts'
import { type Evidence, noEvidence, type Observation, remember } from '../src/observation.ts'
import { defaultThresholds as limits } from '../src/thresholds.ts'
import { lookWell } from './recording.ts'

type Undated = Observation extends infer One ? (One extends Observation ? Omit<One, 'at'> : never) : never

const failed = fc.dictionary(fc.constantFrom(...failureClasses), fc.nat(30))
const look: fc.Arbitrary<Look> = fc.oneof(
  { weight: 5, arbitrary: fc.double({ min: 0, max: 1, noNaN: true }).map((systemLoad) => lookWell({ systemLoad })) },
  { weight: 3, arbitrary: fc.constant<Look>({ kind: 'silent', reason: 'gives no answer' }) },
  fc.constant<Look>({ kind: 'foreign', reason: 'answers with something else' }),
  fc.constant<Look>({ kind: 'refused', reason: 'refuses the password' }),
)
const load = fc.oneof(
  fc.constant({ kind: 'loaded' as const }),
  fc.constantFrom(...failureClasses).map((name) => ({ kind: 'failed' as const, class: name })),
)
const observation = fc.oneof(
  { weight: 8, arbitrary: look.map((seen) => ({ source: 'look', look: seen }) as const) },
  {
    weight: 3,
    arbitrary: fc.record({ source: fc.constant('canary' as const), track: fc.constantFrom('a', 'b', 'c'), load }),
  },
  fc.record({ source: fc.constant('outcomes' as const), starts: fc.nat(40), failed }),
  fc.record({ source: fc.constant('log' as const), class: fc.constantFrom(...failureClasses) }),
  fc.record({ source: fc.constant('planner' as const), failing: fc.nat(16), size: fc.constant(16) }),
  fc.record({
    source: fc.constant('container' as const),
    health: fc.constantFrom('healthy' as const, 'unhealthy' as const, 'stopped' as const, 'none' as const),
  }),
  fc.record({ source: fc.constant('probe' as const), by: fc.constantFrom('bot/a', 'bot/b'), reached: fc.boolean() }),
) satisfies fc.Arbitrary<Undated>

const life = fc.array(fc.tuple(fc.integer({ min: 1, max: 120_000 }), observation), { maxLength: 300 })
interface Step {
  health: Health
  evidence: Evidence
  at: number
}

/** The life of a node under any observations at any distance. */
function live(recorded: [number, Undated][], canary: boolean): Step[] {
  const steps: Step[] = []
  let at = 0
  let evidence = noEvidence
  let health = unknownHealth(0)
  for (const [pause, seen] of recorded) {
    at += pause
    evidence = remember(evidence, { ...seen, at } as Observation, limits)
    health = judge(health, { evidence, order: undefined, now: at, limits, canary })
    steps.push({ health, evidence, at })
  }
  return steps
}

const newly = (steps: Step[], state: NodeState) =>
  steps.filter(({ health }, index) => health.state === state && steps[index - 1]?.health.state !== state)
const kinds = (evidence: Evidence) => evidence.look.map(({ look: { kind } }) => kind)

it('no state comes without its evidence', () => {
  fc.assert(
    fc.property(life, fc.boolean(), (recorded, canary) => {
      const steps = live(recorded, canary)
      for (const { evidence } of newly(steps, 'ready')) expect(kinds(evidence).at(-1)).toBe('well')
      for (const { evidence } of newly(steps, 'unreachable'))
        expect(
          kinds(evidence)
            .slice(-limits.failures)
            .every((kind) => kind !== 'well'),
        ).toBe(true)
      for (const { health } of newly(steps, 'misconfigured')) expect(health.reasons.length).toBeGreaterThan(0)
      for (const { health } of newly(steps, 'suspect')) expect(health.reasons.length).toBeGreaterThan(0)
      for (const { health, evidence, at } of newly(steps, 'exhausted')) {
        expect(health.played).toBe(true)
        expect(health.reasons.length).toBeGreaterThan(0)
        const blamed = evidence.canary.length + evidence.outcomes.length + evidence.log.length + evidence.planner.length
        expect(blamed).toBeGreaterThan(0)
        expect(at - (health.blamedSince ?? at)).toBeGreaterThanOrEqual(limits.exhaustedMs)
      }
    }),
    { numRuns: 300 },
  )
})

it('a node that is ready has no reasons, and any other has', () => {
  fc.assert(
    fc.property(life, fc.boolean(), (recorded, canary) => {
      for (const { health } of live(recorded, canary)) expect(health.reasons.length > 0).toBe(health.state !== 'ready')
    }),
  )
})

it('no node becomes ready again faster than the damping allows, whatever happens', () => {
  // Within one half-life the sum falls to no less than half of what the losses put in.
  const most = 2 * limits.flapSuppress + 1
  fc.assert(
    fc.property(life, fc.boolean(), (recorded, canary) => {
      const times = newly(live(recorded, canary), 'ready').map(({ at }) => at)
      for (const from of times)
        expect(times.filter((at) => at >= from && at < from + limits.flapHalfLifeMs).length).toBeLessThanOrEqual(most)
    }),
    { numRuns: 300 },
  )
})

it('a node under the fastest possible trouble is ready no more often than that either', () => {
  const outage = [...'wwsss'].map((letter): [number, Undated] => [
    1_000,
    { source: 'look', look: letter === 'w' ? lookWell() : { kind: 'silent', reason: 'gives no answer' } },
  ])
  const steps = live(Array.from({ length: 400 }, () => outage).flat(), false)
  const ready = newly(steps, 'ready')
  expect(ready.length).toBeGreaterThan(1)
  expect(ready.length / (steps.at(-1)!.at / limits.flapHalfLifeMs)).toBeLessThan(2)
})

it('the same evidence decides the same', () => {
  fc.assert(
    fc.property(life, (recorded) => {
      expect(live(recorded, true).at(-1)?.health).toEqual(live(recorded, true).at(-1)?.health)
    }),
    { numRuns: 30 },
  )
})
