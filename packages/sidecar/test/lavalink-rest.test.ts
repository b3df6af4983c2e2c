import { FakeLavalink } from '@damon/testkit/fake-lavalink'
import { expect, test } from 'vitest'
import { lavalinkRest } from '../src/lavalink-rest.ts'

const never = new AbortController().signal

function lookAt(fake: FakeLavalink, options: { password?: string; timeoutMs?: number } = {}) {
  return lavalinkRest({ url: new URL(fake.url), password: fake.password, timeoutMs: 10_000, ...options })
}

test('tells version and load of a Lavalink that is well, whatever else its answers hold', async () => {
  await using fake = await FakeLavalink.start()
  fake.stats = { ...fake.stats, players: 5, playingPlayers: 4 }
  fake.extra = { isNodelink: false, detailedStats: { api: {} } }
  const look = await lookAt(fake).look(never)
  expect(look).toMatchObject({
    kind: 'well',
    version: '4.2.2',
    load: { players: 5, playingPlayers: 4, systemLoad: 0.12, memoryReservable: 1024 ** 3 },
  })
})

test('asks a known Lavalink for its stats only, and again who it is after it was gone', async () => {
  await using fake = await FakeLavalink.start()
  const lavalink = lookAt(fake)
  await lavalink.look(never)
  await lavalink.look(never)
  expect(fake.requests.map(({ path }) => path)).toEqual(['/version', '/v4/info', '/v4/stats', '/v4/stats'])
  await fake.kill()
  expect(await lavalink.look(never)).toMatchObject({ kind: 'silent' })
  fake.version = '4.3.0'
  await fake.start()
  expect(await lavalink.look(never)).toMatchObject({ kind: 'well', version: '4.3.0' })
})

test('stops at the first refusal of the password', async () => {
  await using fake = await FakeLavalink.start()
  const look = await lookAt(fake, { password: 'not the password' }).look(never)
  expect(look).toEqual({ kind: 'refused', reason: 'refuses the password (403)' })
  expect(fake.requests).toHaveLength(1)
})

test('finds a Lavalink behind a path prefix', async () => {
  await using fake = await FakeLavalink.start({ prefix: '/audio' })
  expect(await lookAt(fake).look(never)).toMatchObject({ kind: 'well' })
})

test('gives up on one that hangs or is slower than the limit', async () => {
  await using fake = await FakeLavalink.start()
  fake.mood = { kind: 'hanging' }
  const reason = 'gives no answer within 60 ms'
  expect(await lookAt(fake, { timeoutMs: 60 }).look(never)).toEqual({ kind: 'silent', reason })
  fake.mood = { kind: 'slow', ms: 60_000 }
  expect(await lookAt(fake, { timeoutMs: 60 }).look(never)).toEqual({ kind: 'silent', reason })
})

test('calls one that fails silent', async () => {
  await using fake = await FakeLavalink.start()
  fake.mood = { kind: 'failing', status: 500 }
  expect(await lookAt(fake).look(never)).toEqual({ kind: 'silent', reason: 'answers /version with status 500' })
})

test.each([
  ['other-json', 'answers /version with something else'],
  ['no-json', 'answers /version with something else'],
  ['endless', 'sends more than 65536 bytes'],
] as const)('calls one that answers with %s foreign, and reads no more than it must', async (body, reason) => {
  await using fake = await FakeLavalink.start()
  fake.mood = { kind: 'lying', body }
  expect(await lookAt(fake).look(never)).toEqual({ kind: 'foreign', reason })
})

test('names the field when the stats of a known Lavalink become wrong', async () => {
  await using fake = await FakeLavalink.start()
  const lavalink = lookAt(fake)
  await lavalink.look(never)
  fake.mood = { kind: 'lying', body: 'other-json' }
  expect(await lavalink.look(never)).toEqual({ kind: 'foreign', reason: 'answers /v4/stats with a wrong players' })
  fake.mood = { kind: 'well' }
  await lavalink.look(never)
  fake.mood = { kind: 'lying', body: 'no-json' }
  expect(await lavalink.look(never)).toEqual({
    kind: 'foreign',
    reason: 'answers /v4/stats with something that is not JSON',
  })
})

test('rejects with the reason of the signal, and only then', async () => {
  await using fake = await FakeLavalink.start()
  fake.mood = { kind: 'hanging' }
  const ending = new AbortController()
  const look = lookAt(fake).look(ending.signal)
  ending.abort('enough')
  await expect(look).rejects.toBe('enough')
})

test.each([
  ['lavalink-3', { version: '3.7.13', api: 'v3', product: 'lavalink' }],
  ['nodelink-2', { version: '2.3.0', api: 'v4', product: 'nodelink' }],
  ['nodelink-3', { version: '3.8.0', api: 'v4', product: 'nodelink' }],
] as const)('knows a %s for what it is', async (dialect, identity) => {
  await using fake = await FakeLavalink.start({ dialect, version: identity.version })
  expect(await lookAt(fake).look(never)).toMatchObject({ kind: 'well', ...identity, load: { systemLoad: 0.12 } })
})

test('tells the share of late frames where they are told', async () => {
  await using fake = await FakeLavalink.start({ dialect: 'nodelink-3', version: '3.8.0' })
  fake.extra = { frameStats: { sent: 5400, nulled: 0, deficit: 600, expected: 6000 } }
  expect(await lookAt(fake).look(never)).toMatchObject({ lateFrames: 0.1 })
  fake.extra = { frameStats: 'none' }
  expect(await lookAt(fake).look(never)).not.toHaveProperty('lateFrames')
})

test.each([
  ['lavalink-4', 'track', { kind: 'loaded' }],
  ['lavalink-4', 'empty', { kind: 'failed', class: 'gone' }],
  ['lavalink-4', { fails: 'Sign in to confirm you’re not a bot' }, { kind: 'failed', class: 'bot' }],
  ['lavalink-4', { fails: 'Retry aborted, too many retries on ratelimit' }, { kind: 'failed', class: 'rate' }],
  ['lavalink-4', { fails: 'who knows' }, { kind: 'failed', class: 'other' }],
  ['lavalink-3', 'track', { kind: 'loaded' }],
  ['lavalink-3', 'empty', { kind: 'failed', class: 'gone' }],
  ['lavalink-3', { fails: 'This video requires login.' }, { kind: 'failed', class: 'bot' }],
] as const)('tells of %s why a track loads or not: %j', async (dialect, outcome, expected) => {
  await using fake = await FakeLavalink.start({ dialect })
  fake.load = () => outcome
  const lavalink = lookAt(fake)
  await lavalink.look(never)
  expect(await lavalink.loadTrack('jNQXAC9IVRw', never)).toEqual(expected)
})

test('does not know how a track loads from one that fails or was never seen', async () => {
  await using fake = await FakeLavalink.start()
  const lavalink = lookAt(fake)
  expect(await lavalink.loadTrack('jNQXAC9IVRw', never)).toMatchObject({ kind: 'unknown' })
  expect(fake.requests).toEqual([])
  await lavalink.look(never)
  fake.mood = { kind: 'failing', status: 500 }
  expect(await lavalink.loadTrack('jNQXAC9IVRw', never)).toMatchObject({ kind: 'unknown' })
  fake.mood = { kind: 'lying', body: 'endless' }
  expect(await lavalink.loadTrack('jNQXAC9IVRw', never)).toMatchObject({ kind: 'unknown' })
})

const balancing = (failing: string[]) => ({
  class: 'BalancingIpRoutePlanner',
  details: {
    ipBlock: { type: 'Inet6Address', size: '16' },
    failingAddresses: failing.map((failingAddress) => ({ failingAddress, failingTimestamp: 7, failingTime: 'then' })),
  },
})

test.each([
  ['lavalink-4', undefined, { kind: 'none' }],
  ['lavalink-3', undefined, { kind: 'none' }],
  ['lavalink-4', 'failing', { kind: 'unknown' }],
  ['lavalink-4', { class: 7 }, { kind: 'unknown' }],
  ['nodelink-2', undefined, { kind: 'unknown' }],
  ['nodelink-3', { class: 'BalancingIpRoutePlanner', details: { ipBlock: { size: 2 } } }, { kind: 'unknown' }],
  [
    'lavalink-4',
    balancing(['/2001:db8::1']),
    { kind: 'known', planner: 'BalancingIpRoutePlanner', size: 16n, failing: new Map([['2001:db8::1', 7]]) },
  ],
] as const)('tells what the planner of %s says: %j', async (dialect, planner, expected) => {
  await using fake = await FakeLavalink.start({ dialect })
  fake.planner = planner
  const lavalink = lookAt(fake)
  await lavalink.look(never)
  expect(await lavalink.planner(never)).toEqual(expected)
})
