import type { NodeRecord } from '@damon/protocol/records'
import { readConfig } from '@damon/runtime/config'
import type { Check } from '@damon/runtime/health'
import { createLogger } from '@damon/runtime/logger'
import { FakeLavalink } from '@damon/testkit/fake-lavalink'
import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { addressesOf } from '../src/address.ts'
import { startSidecar } from '../src/app.ts'
import { configuredNodes, sidecarConfig } from '../src/config.ts'
import type { Bots, BotVerdict } from '../src/drain.ts'
import { FakeFleet } from './fake-fleet.ts'
import { ManualClock } from './manual-clock.ts'
import { RecordStore } from './record-store.ts'

/** A sidecar beside a fake Lavalink; `bots` answers its wish that they leave. */
async function setup(options: { env?: Record<string, string>; bots?: Bots['leave'] } = {}) {
  const fake = await FakeLavalink.start()
  const clock = new ManualClock()
  const store = new RecordStore()
  const checks = new Map<string, Check>()
  const hurry = new AbortController()
  const asked: string[] = []
  const env = {
    LAVALINK_URL: fake.url,
    LAVALINK_PASSWORD: fake.password,
    NODE_ADDRESS: 'fra1.example',
    CANARY_TRACKS: 'none',
    RESUME_MS: '10000',
    ...options.env,
  }
  const config = readConfig(sidecarConfig, env)
  const fleet = new FakeFleet(() => store.nodes())
  const registry = new Registry()
  const sidecar = await startSidecar(configuredNodes(config, 'fra1'), config, {
    announcer: store,
    fleet,
    sidecar: 'sidecar/fra1',
    random: () => 0.5,
    registry,
    bots: {
      leave(node, deadlineMs, signal) {
        asked.push(`${node}: ${(store.values.get('node/fra1') as NodeRecord).state}`)
        return options.bots?.(node, deadlineMs, signal) ?? verdicts()
      },
    },
    clock,
    log: createLogger({ service: 'sidecar', level: 'silent' }),
    checks,
    hurry: hurry.signal,
    drainMs: 30_000,
  })
  const node = (): NodeRecord | undefined => store.values.get('node/fra1') as NodeRecord | undefined
  return {
    fake,
    fleet,
    registry,
    sidecar,
    clock,
    store,
    checks,
    hurry,
    asked,
    node,
    /** Lets the sidecar look once more. */
    async nextLook() {
      await clock.sleeping(1)
      clock.advance(clock.pauses[0] ?? 0)
      await clock.sleeping(1)
    },
    /** Ends the sidecar as the first signal does. */
    stop: () => sidecar[Symbol.asyncDispose](),
    async [Symbol.asyncDispose]() {
      hurry.abort('the test is over')
      await sidecar[Symbol.asyncDispose]()
      await fake[Symbol.asyncDispose]()
    },
  }
}

async function* verdicts(...all: BotVerdict[]): AsyncGenerator<BotVerdict> {
  yield* all
}

test('announces a node once it was seen to be well, with where bots find it', async () => {
  await using way = await setup({ env: { NODE_REGION: 'fra' } })
  await way.clock.sleeping(1)
  expect(way.node()).toMatchObject({
    state: 'ready',
    reasons: [],
    since: 1_000_000,
    address: { host: 'fra1.example', port: way.fake.port, secure: false },
    version: '4.2.2',
    api: 'v4',
    region: 'fra',
    load: { players: 0 },
  })
  expect(way.store.values.get('node-secret/fra1')).toEqual({ password: way.fake.password })
  expect(await way.checks.get('lavalink')?.()).toBeUndefined()
})

test('does not announce a node that it never saw well, and says why it is not ready', async () => {
  await using way = await setup({ env: { LAVALINK_PASSWORD: 'not the password' } })
  await way.clock.sleeping(1)
  expect(way.store.log).toEqual([])
  expect(await way.checks.get('lavalink')?.()).toBe('misconfigured: Lavalink refuses the password (403)')
  expect(way.clock.pauses).toEqual([60_000])
  await way.stop()
  expect(way.asked).toEqual([])
})

test('turns the record unreachable when Lavalink stops, and ready when it is back', async () => {
  await using way = await setup()
  await way.clock.sleeping(1)
  await way.fake.stop()
  await way.nextLook()
  await way.nextLook()
  expect(way.node()?.state).toBe('ready')
  await way.nextLook()
  expect(way.node()).toMatchObject({
    state: 'unreachable',
    reasons: ['Lavalink refuses connections, 3 or more times in a row'],
    load: null,
  })
  await way.fake.start()
  await way.nextLook()
  await way.nextLook()
  expect(way.node()).toMatchObject({ state: 'ready', reasons: [], load: { players: 0 } })
})

test('drains before it retires: cordons, asks the bots, waits until nothing plays, drops the records', async () => {
  const left = { client: 'bot/eu-1', verdict: 'answered', value: { moved: 2, failed: 0 } }
  const without = { client: 'bot/eu-2', verdict: 'no_handler' }
  await using way = await setup({ bots: () => verdicts(left, without) })
  way.fake.stats.playingPlayers = 2
  await way.clock.sleeping(1)
  const stopped = way.stop()
  await way.clock.sleeping(2)
  expect(way.asked).toEqual(['fra1: draining'])
  expect(way.node()).toMatchObject({ state: 'draining', reasons: ['asked to stop'] })
  way.fake.stats.playingPlayers = 0
  // A session may be paused and come back for 10 s after it was last seen to play.
  for (let second = 1; second <= 11; second++) {
    expect(way.node()?.state).toBe('draining')
    way.clock.advance(1_000)
    if (second < 11) await way.clock.sleeping(2)
  }
  await stopped
  expect(way.store.values.size).toBe(0)
  expect(way.store.log).toContain('because retired')
})

test('retires at the deadline although something still plays', async () => {
  await using way = await setup()
  way.fake.stats.playingPlayers = 1
  await way.clock.sleeping(1)
  const stopped = way.stop()
  await way.clock.sleeping(2)
  way.clock.advance(30_000)
  await stopped
  expect(way.store.values.size).toBe(0)
})

test('retires at once when hurried, even while a bot has not answered', async () => {
  await using way = await setup({
    bots: async function* (_node, _deadlineMs, signal) {
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    },
  })
  await way.clock.sleeping(1)
  const stopped = way.stop()
  await expect.poll(() => way.asked).toEqual(['fra1: draining'])
  way.hurry.abort('a second signal')
  await stopped
  expect(way.store.log.slice(-4)).toEqual([
    'drop node/fra1',
    'drop node-secret/fra1',
    'because retired',
    'because retired',
  ])
})

test('retires also when the bots cannot be asked and Lavalink is gone', async () => {
  await using way = await setup({
    // biome-ignore lint/correctness/useYield: nobody can be asked
    bots: async function* () {
      throw new Error('There is no connection to the hub.')
    },
  })
  await way.clock.sleeping(1)
  await way.fake.kill()
  const stopped = way.stop()
  await way.clock.sleeping(2)
  way.clock.advance(1_000)
  await stopped
  expect(way.store.values.size).toBe(0)
})

test.each([
  ['http://127.0.0.1:2333', {}, { host: '127.0.0.1', port: 2333, secure: false }],
  ['https://audio.example/lavalink', {}, { host: 'audio.example', port: 443, secure: true }],
  ['http://[::1]:2333', {}, { host: '::1', port: 2333, secure: false }],
  [
    'http://lavalink:2333',
    { NODE_ADDRESS: '203.0.113.7', NODE_PORT: '443', NODE_SECURE: 'yes' },
    { host: '203.0.113.7', port: 443, secure: true },
  ],
])('tells bots that %s is where it was configured to be', (url, env, address) => {
  const config = readConfig(sidecarConfig, { LAVALINK_URL: url, LAVALINK_PASSWORD: 'youshallnotpass', ...env })
  const [node] = configuredNodes(config, 'fra1')
  expect(addressesOf(node!, [node!.url.hostname])?.address).toEqual(address)
})

test('names every wrong variable at once, without its value', () => {
  const read = () =>
    readConfig(sidecarConfig, {
      LAVALINK_URL: 'http://user:hidden@lavalink',
      LAVALINK_PASSWORD: 'hidden\nhidden',
      NODE_ID: 'Not An Id',
      POLL_MS: 'often',
    })
  expect(read).toThrow(/LAVALINK_URL .*\n.*LAVALINK_PASSWORD .*\n.*NODE_ID .*\n.*POLL_MS /)
  expect(read).not.toThrow(/hidden/)
})
