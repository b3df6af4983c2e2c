import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readConfig } from '@damon/runtime/config'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { describe, expect, it, test } from 'vitest'
import { configuredNodes, sidecarConfig } from '../src/config.ts'
import { readApplicationYml, readLavalinkEnvironment } from '../src/lavalink-settings.ts'
import { nodeMemoryFile } from '../src/node-memory.ts'
import { flawsOf } from '../src/pool.ts'
import { defaultThresholds } from '../src/thresholds.ts'

const read = (env: Record<string, string>) => readConfig(sidecarConfig, env)

test('several Lavalinks of one machine come from one file, with passwords from files', async () => {
  await using folder = await temporaryFolder()
  await writeFile(join(folder.path, 'b'), 'the password of b\n')
  const yaml = `
nodes:
  - { id: fra1-a, url: http://127.0.0.1:2333, password: the password of a, region: fra }
  - { id: fra1-b, url: http://127.0.0.1:2334/audio, passwordFile: ${folder.path}/b, address: audio.example, port: 443, secure: true }
`
  const nodes = configuredNodes(read({ LAVALINKS: yaml }), 'vps')
  expect(nodes).toMatchObject([
    { id: 'fra1-a', url: new URL('http://127.0.0.1:2333'), region: 'fra' },
    { id: 'fra1-b', address: 'audio.example', port: 443, secure: true },
  ])
  expect(nodes.map(({ password }) => password.reveal())).toEqual(['the password of a', 'the password of b'])
})

test.each([
  ['nodes: [', 'is not YAML'],
  ['nodes: []', 'nodes: '],
  ['nodes: [{ id: A, url: x, password: hidden-hidden }]', 'nodes.0.id: '],
  ['nodes: [{ id: a, url: http://a, password: hid }]', 'a needs a password of at least 8'],
  ['nodes: [{ id: a, url: http://a, passwordFile: /does/not/exist }]', 'a needs a password of at least 8'],
  [
    'nodes: [{ id: a, url: http://a, password: hidden-hidden }, { id: a, url: http://b, password: hidden-hidden }]',
    'has "a" twice',
  ],
])('a list of Lavalinks that is wrong is refused in words, without a password: %s', (yaml, why) => {
  expect(() => read({ LAVALINKS: yaml })).toThrow(why)
  expect(() => read({ LAVALINKS: yaml })).not.toThrow(/hid/)
})

test('the audio server is named in one way, no more and no less', () => {
  const why = 'Name the audio server by one of LAVALINK_URL, LAVALINKS_FILE or DOCKER=yes.'
  const list = 'nodes: [{ id: a, url: http://a, password: youshallnotpass }]'
  expect(() => configuredNodes(read({}), 'a')).toThrow(why)
  expect(() => configuredNodes(read({ LAVALINK_URL: 'http://a', LAVALINKS: list }), 'a')).toThrow(why)
  expect(() => configuredNodes(read({ LAVALINK_URL: 'http://a' }), 'a')).toThrow('LAVALINK_PASSWORD_FILE')
  expect(configuredNodes(read({ DOCKER: 'yes' }), 'a')).toEqual([])
})

const yml = `
server: # REST and WebSocket
  port: 6978
  address: 0.0.0.0
lavalink:
  server:
    password: "0x12345678"
    ratelimit:
      ipBlocks: ["2001:db8::1/128", "2001:db8::2/128"]
      strategy: LoadBalance
      retryLimit: -1
`

test("password, port and blocks come from Lavalink's own file", () => {
  const settings = readApplicationYml(yml)
  expect(settings).toEqual({
    port: 6978,
    password: '0x12345678',
    pool: { blocks: ['2001:db8::1/128', '2001:db8::2/128'], strategy: 'LoadBalance' },
  })
  const [node] = configuredNodes(read({ LAVALINK_URL: 'http://127.0.0.1:6978', LAVALINK_CONFIG: yml }), 'a')
  expect(node?.password.reveal()).toBe('0x12345678')
  expect(readApplicationYml('')).toEqual({ port: undefined, password: undefined, pool: undefined })
  expect(() => readApplicationYml('server: { port: many }')).toThrow('server.port')
  expect(() => readApplicationYml('a: [')).toThrow('is not YAML')
})

test('the environment of Lavalink is read with whatever underscores it has', () => {
  expect(
    readLavalinkEnvironment([
      'SERVER_PORT=6978',
      'LAVALINK_SERVER_PASSWORD=with=equals',
      'LAVALINK_SERVER_RATELIMIT_IPBLOCKS=192.0.2.0/24, 198.51.100.0/24',
    ]),
  ).toEqual({
    port: 6978,
    password: 'with=equals',
    pool: { blocks: ['192.0.2.0/24', '198.51.100.0/24'], strategy: 'RotateOnBan' },
  })
  expect(readLavalinkEnvironment(['SERVER_PORT=x'])).toEqual({ port: undefined, password: undefined, pool: undefined })
})

describe('a pool of addresses', () => {
  it.each([
    ['LoadBalance', ['2001:db8::1/128'], 0],
    ['LoadBalance', ['2001:db8::/64'], 0],
    ['LoadBalance', ['2001:db8::/124'], 1],
    ['RotateOnBan', ['2001:db8::/124'], 1],
    ['RotateOnBan', ['2001:db8::/64'], 0],
    ['NanoSwitch', ['2001:db8::/64'], 0],
    ['RotatingNanoSwitch', ['2001:db8::/124', '2001:db8:1::/48'], 1],
    ['RotateOnBan', ['many'], 1],
  ])('%s with %j has %i flaws', (strategy, blocks, count) => {
    expect(flawsOf({ strategy, blocks })).toHaveLength(count)
  })
})

test('thresholds are set by name, and a wrong one is named', () => {
  const base = { LAVALINK_URL: 'http://a' }
  expect(read(base).THRESHOLDS).toEqual(defaultThresholds)
  expect(read({ ...base, THRESHOLDS: 'exhaustedMs=60000, brakeShare=0.5' }).THRESHOLDS).toEqual({
    ...defaultThresholds,
    exhaustedMs: 60_000,
    brakeShare: 0.5,
  })
  expect(() => read({ ...base, THRESHOLDS: 'exhausted=1' })).toThrow('has no threshold "exhausted"')
  expect(() => read({ ...base, THRESHOLDS: 'brakeShare=45' })).toThrow('brakeShare must be a number from 0 to 1')
  expect(() => read({ ...base, THRESHOLDS: 'failures=' })).toThrow('failures must be a number from 1 to 1000')
})

test('what is remembered survives a restart, and damage is as good as nothing', async () => {
  await using folder = await temporaryFolder()
  const path = join(folder.path, 'deep', 'fra1.json')
  const memory = nodeMemoryFile(path)
  expect(await memory.load()).toBeUndefined()
  const remembered = {
    state: 'exhausted' as const,
    reasons: ['why'],
    since: 7,
    played: true,
    bans: [['a', 1]] as [string, number][],
  }
  await Promise.all([memory.save({ ...remembered, since: 1 }), memory.save(remembered)])
  expect(await nodeMemoryFile(path).load()).toEqual(remembered)
  await writeFile(path, '{"version":1,')
  expect(await memory.load()).toBeUndefined()
})
