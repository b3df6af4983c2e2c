import { createLogger } from '@damon/runtime/logger'
import { FakeLavalink } from '@damon/testkit/fake-lavalink'
import { expect, test } from 'vitest'
import { NodeAnnouncement } from '../src/announcement.ts'
import { AudioNode } from '../src/audio-node.ts'
import { unknownHealth } from '../src/decision.ts'
import { BanWindow } from '../src/evidence/ban-window.ts'
import { canaryPause, runCanary } from '../src/evidence/canary.ts'
import { readOutcomes, reportStarts } from '../src/evidence/outcomes.ts'
import { runRoutePlanner } from '../src/evidence/route-planner.ts'
import { lavalinkRest } from '../src/lavalink-rest.ts'
import { noEvidence, remember } from '../src/observation.ts'
import { defaultThresholds as limits } from '../src/thresholds.ts'
import { ManualClock } from './manual-clock.ts'
import { RecordStore } from './record-store.ts'

const log = createLogger({ service: 'sidecar', level: 'silent' })

/** A node that is looked at by hand. */
async function setup() {
  const fake = await FakeLavalink.start()
  const clock = new ManualClock()
  const lavalink = lavalinkRest({ url: new URL(fake.url), password: fake.password, timeoutMs: 10_000 })
  const announcement = new NodeAnnouncement({ announcer: new RecordStore(), id: 'fra1', password: fake.password })
  const node = new AudioNode({
    lavalink,
    announcement,
    place: () => undefined,
    rhythm: { pollMs: 1_000, quickMs: 1_000, refusedMs: 1_000 },
    clock,
    log,
    limits,
    canary: true,
  })
  const ending = new AbortController()
  return {
    fake,
    clock,
    lavalink,
    node,
    signal: ending.signal,
    async [Symbol.asyncDispose]() {
      ending.abort()
      await fake[Symbol.asyncDispose]()
    },
  }
}

test('the canary loads its tracks in turn, only while the node answers, and jittered', async () => {
  await using way = await setup()
  const { fake, clock, node, lavalink, signal } = way
  fake.load = (identifier) => (identifier === 'b' ? { fails: 'Sign in to confirm you’re not a bot' } : 'track')
  const options = { lavalink, tracks: ['a', 'b', 'c'], everyMs: 300_000, againMs: 60_000, clock, random: () => 0, log }
  const running = runCanary(node, options, signal).catch(() => {})
  expect(fake.requests.filter(({ path }) => path.includes('loadtracks'))).toEqual([])
  await node.look(signal)
  await clock.sleeping(1)
  // A node that becomes ready is well: the next test is far, two thirds of it with the lowest jitter.
  expect(node.health.state).toBe('ready')
  expect(clock.pauses).toEqual([200_000])
  for (const _ of [1, 2]) {
    clock.advance(clock.pauses[0]!)
    await clock.sleeping(1)
  }
  expect(node.evidence.canary.map(({ track, load }) => [track, load.kind])).toEqual([
    ['a', 'loaded'],
    ['b', 'failed'],
    ['c', 'loaded'],
  ])
  void running
})

test.each([
  ['ready', 'loaded', 300_000],
  ['ready', 'failed', 60_000],
  ['suspect', 'loaded', 60_000],
  ['suspect', 'failed', 60_000],
  ['exhausted', 'failed', 300_000],
  ['exhausted', 'loaded', 60_000],
  ['draining', 'failed', 300_000],
] as const)('the canary of a node that is %s, after one that %s, waits %d ms', (state, kind, expected) => {
  const load = kind === 'loaded' ? ({ kind } as const) : ({ kind, class: 'rate' } as const)
  expect(canaryPause({ ...unknownHealth(0), state }, load, { everyMs: 300_000, againMs: 60_000 })).toBe(expected)
})

const planner = (failing: [string, number][], size = '16') => ({
  class: 'BalancingIpRoutePlanner',
  details: {
    ipBlock: { type: 'Inet6Address', size },
    failingAddresses: failing.map(([address, failingTimestamp]) => ({
      failingAddress: `/${address}`,
      failingTimestamp,
      failingTime: 'then',
    })),
  },
})

test('the route planner is watched where it tells something, and what failed is known longer than it remembers', async () => {
  await using way = await setup()
  const { fake, clock, node, lavalink, signal } = way
  const bans = new BanWindow()
  fake.planner = planner([['2001:db8::1', clock.unix()]])
  const options = { lavalink, bans, banMs: limits.banMs, everyMs: 60_000, clock }
  void runRoutePlanner(node, options, signal).catch(() => {})
  // With the YouTube plugin Lavalink's own planner sees nothing.
  await node.look(signal)
  expect(fake.requests.map(({ path }) => path)).not.toContain('/v4/routeplanner/status')
  fake.extra = { plugins: [] }
  await fake.kill()
  await node.look(signal)
  await fake.start()
  await node.look(signal)
  await clock.sleeping(1)
  expect(node.evidence.planner).toMatchObject([{ failing: 1, size: 16 }])
  // A restart of Lavalink clears its list.
  fake.planner = planner([['2001:db8::2', clock.unix()]])
  clock.advance(60_000)
  await clock.sleeping(1)
  expect(node.evidence.planner).toMatchObject([{ failing: 2, size: 16 }])
  for (const nothing of ['failing', planner([], String(2n ** 64n))] as const) {
    fake.planner = nothing
    clock.advance(60_000)
    await clock.sleeping(1)
    expect(node.evidence.planner).toMatchObject([{ failing: 2 }])
  }
})

test('bans are known for their time, bounded, and none lies in the future', () => {
  const bans = new BanWindow([['old', 0]], 3)
  bans.merge(new Map([['new', 900]]), 1_000, 500)
  expect(bans.entries()).toEqual([['new', 900]])
  bans.merge(new Map([['wrong clock', 9_999]]), 1_000, 500)
  expect(bans.entries()).toContainEqual(['wrong clock', 1_000])
  bans.merge(
    new Map([
      ['a', 980],
      ['b', 990],
    ]),
    1_000,
    500,
  )
  expect(bans.entries().map(([address]) => address)).toEqual(['wrong clock', 'a', 'b'])
})

test('reports of bots are checked, bounded, and added up while they come together', () => {
  expect(readOutcomes('nonsense', 300_000)).toBeUndefined()
  expect(readOutcomes({ node: 'a', starts: 0, failed: {}, windowMs: 1 }, 300_000)).toBeUndefined()
  expect(readOutcomes({ node: 'a', starts: 9, failed: {}, windowMs: 300_001 }, 300_000)).toBeUndefined()
  const loud = readOutcomes({ node: 'a', starts: 100_000, failed: { rate: 50_000 }, windowMs: 30_000 }, 300_000)
  expect(loud).toEqual({
    node: 'a',
    observation: { source: 'outcomes', starts: reportStarts, failed: { rate: reportStarts / 2 } },
  })
  const report = { source: 'outcomes', starts: 10, failed: { rate: 4 } } as const
  const evidence = [0, 4_000, 6_000].reduce((known, at) => remember(known, { ...report, at }, limits), noEvidence)
  expect(evidence.outcomes).toEqual([
    { ...report, at: 0, starts: 20, failed: { rate: 8 } },
    { ...report, at: 6_000 },
  ])
})
