import { FakeLavalink } from '@damon/testkit/fake-lavalink'
import { expect, test } from 'vitest'
import { lavalinkV4 } from '../src/lavalink-v4.ts'

const never = new AbortController().signal

function lookAt(fake: FakeLavalink, options: { password?: string; timeoutMs?: number } = {}) {
  return lavalinkV4({ url: new URL(fake.url), password: fake.password, timeoutMs: 10_000, ...options })
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
