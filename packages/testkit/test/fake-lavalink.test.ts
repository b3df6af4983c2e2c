import { expect, test } from 'vitest'
import { FakeLavalink } from '../src/fake-lavalink.ts'

async function ask(fake: FakeLavalink, path: string, password: string | undefined = fake.password): Promise<Response> {
  return fetch(fake.url + path, { headers: password === undefined ? {} : { Authorization: password } })
}

test('refuses as Lavalink does: 401 without a password, 403 with a wrong one, both without a body', async () => {
  await using fake = await FakeLavalink.start()
  const missing = await fetch(`${fake.url}/version`)
  const wrong = await ask(fake, '/version', 'guess')
  expect([missing.status, await missing.text()]).toEqual([401, ''])
  expect([wrong.status, await wrong.text()]).toEqual([403, ''])
  expect(missing.headers.get('Lavalink-Api-Version')).toBe('4')
})

test('answers the routes a sidecar reads', async () => {
  await using fake = await FakeLavalink.start()
  fake.stats.players = 3
  expect(await (await ask(fake, '/version')).text()).toBe('4.2.2')
  expect(await (await ask(fake, '/v4/info')).json()).toMatchObject({ version: { semver: '4.2.2', major: 4 } })
  expect(await (await ask(fake, '/v4/stats')).json()).toMatchObject({ players: 3, cpu: { cores: 2 } })
  expect((await ask(fake, '/v4/routeplanner/status')).status).toBe(204)
  const unknown = await ask(fake, '/v4/nothing')
  expect(unknown.status).toBe(404)
  expect(await unknown.json()).toMatchObject({ status: 404, error: 'Not Found', path: '/v4/nothing' })
})

test('keeps its port over a stop and a kill, and breaks hanging callers when killed', async () => {
  await using fake = await FakeLavalink.start()
  const { port } = fake
  await fake.stop()
  await expect(ask(fake, '/version')).rejects.toThrow()
  await fake.start()
  fake.mood = { kind: 'hanging' }
  const hanging = ask(fake, '/version')
  const broken = expect(hanging).rejects.toThrow()
  await ask(fake, '/version', 'guess')
  await fake.kill()
  await broken
  fake.mood = { kind: 'well' }
  await fake.start()
  expect(fake.port).toBe(port)
  expect((await ask(fake, '/version')).status).toBe(200)
})

test('lies on demand: other JSON, no JSON, or a body without an end', async () => {
  await using fake = await FakeLavalink.start()
  fake.mood = { kind: 'lying', body: 'other-json' }
  expect(await (await ask(fake, '/v4/stats')).json()).toEqual({ players: 'many', version: 'yes' })
  fake.mood = { kind: 'lying', body: 'no-json' }
  await expect((await ask(fake, '/v4/stats')).json()).rejects.toThrow(SyntaxError)
  fake.mood = { kind: 'lying', body: 'endless' }
  const endless = await ask(fake, '/v4/stats')
  const reader = endless.body!.getReader()
  let bytes = 0
  while (bytes < 1024 * 1024) bytes += (await reader.read()).value!.byteLength
  await reader.cancel()
})

test('says why a track does not load only deep in the trace, as Lavalink does since 4.1', async () => {
  await using fake = await FakeLavalink.start()
  fake.load = (identifier) => (identifier === 'old' ? 'track' : { fails: 'not a bot' })
  const old = await (await ask(fake, '/v4/loadtracks?identifier=old')).json()
  const other = await (await ask(fake, '/v4/loadtracks?identifier=other')).json()
  expect(old).toMatchObject({ loadType: 'track', data: { info: { identifier: 'old' } } })
  expect(other).toMatchObject({ loadType: 'error', data: { severity: 'fault' } })
  expect(other.data.message + other.data.cause).not.toContain('not a bot')
  expect(other.data.causeStackTrace).toContain('not a bot')
})

test('answers for a route planner with its body, with nothing, or with status 500', async () => {
  await using fake = await FakeLavalink.start()
  fake.planner = { class: 'BalancingIpRoutePlanner', details: {} }
  expect(await (await ask(fake, '/v4/routeplanner/status')).json()).toEqual(fake.planner)
  fake.planner = 'failing'
  expect((await ask(fake, '/v4/routeplanner/status')).status).toBe(500)
})

test.each([
  ['lavalink-3', '/v3/loadtracks?identifier=a', 'TRACK_LOADED'],
  ['nodelink-2', '/v4/loadtracks?identifier=a', 'track'],
] as const)('speaks %s', async (dialect, path, loadType) => {
  await using fake = await FakeLavalink.start({ dialect })
  expect(await (await ask(fake, path)).json()).toMatchObject({ loadType })
  expect((await ask(fake, dialect === 'lavalink-3' ? '/v4/info' : '/v3/info')).status).toBe(404)
})
