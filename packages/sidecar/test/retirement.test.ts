import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { NodeRecord } from '@damon/protocol/records'
import { readConfig } from '@damon/runtime/config'
import { createLogger } from '@damon/runtime/logger'
import { eventually } from '@damon/testkit/eventually'
import { FakeLavalink } from '@damon/testkit/fake-lavalink'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { type Sidecar, startSidecar } from '../src/app.ts'
import { configuredNodes, sidecarConfig } from '../src/config.ts'
import { FakeFleet } from './fake-fleet.ts'
import { ManualClock } from './manual-clock.ts'
import { RecordStore } from './record-store.ts'

/** A sidecar with a canary whose tracks stop loading, in a fleet; `step` lets 10 s pass. */
async function setup(env: Record<string, string> = {}) {
  const folder = await temporaryFolder()
  const fake = await FakeLavalink.start()
  const clock = new ManualClock()
  const store = new RecordStore()
  const fleet = new FakeFleet(() => store.nodes())
  const hurry = new AbortController()
  const registry = new Registry()
  const asked: string[] = []
  const stopped: string[] = []
  const config = readConfig(sidecarConfig, {
    LAVALINK_URL: fake.url,
    LAVALINK_PASSWORD: fake.password,
    CANARY_TRACKS: 'a,b,c',
    CANARY_MS: '20000',
    THRESHOLDS: 'exhaustedMs=60000,canaryFailures=2,canaryRecoveries=2,fleetPatienceMs=0',
    SIDECAR_STATE_DIR: folder.path,
    RESUME_MS: '0',
    ...env,
  })
  const begin = () =>
    startSidecar(configuredNodes(config, 'fra1'), config, {
      announcer: store,
      bots: {
        async *leave(node) {
          asked.push(node)
          yield { client: 'bot/a', verdict: 'answered', value: { moved: 0, failed: 0 } }
        },
      },
      fleet,
      sidecar: 'sidecar/fra1',
      extras: () => ({ stop: async () => void stopped.push('fra1') }),
      clock,
      random: () => 0.5,
      log: createLogger({ service: 'sidecar', level: 'silent' }),
      checks: new Map(),
      registry: new Registry(),
      hurry: hurry.signal,
      drainMs: 1_000,
    })
  let sidecar: Sidecar = await begin()
  const node = (): NodeRecord | undefined => store.values.get('node/fra1') as NodeRecord | undefined
  return {
    fake,
    clock,
    store,
    fleet,
    asked,
    stopped,
    registry,
    folder,
    node,
    get sidecar() {
      return sidecar
    },
    /** Steps of 1 s until the check passes. */
    async until(check: () => void) {
      await eventually(
        () => {
          try {
            check()
          } catch (error) {
            clock.advance(1_000)
            throw error
          }
        },
        { deadlineMs: 30_000 },
      )
    },
    async restart() {
      hurry.abort()
      await sidecar[Symbol.asyncDispose]()
      sidecar = await begin()
    },
    async [Symbol.asyncDispose]() {
      hurry.abort()
      const ended = sidecar[Symbol.asyncDispose]()
      const ticking = setInterval(() => clock.advance(1_000), 5)
      await ended
      clearInterval(ticking)
      await fake[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

const bot = { fails: 'Sign in to confirm you’re not a bot' }
const other = { id: 'ams1', state: 'ready', playing: 3, live: true } as const

test('a node whose tracks stop loading is suspect, exhausted, drained, dropped with that reason, and its container stopped', async () => {
  await using way = await setup()
  way.fleet.others = [other]
  await way.until(() => expect(way.node()?.state).toBe('ready'))
  way.fake.load = () => bot
  await way.until(() => expect(way.node()?.state).toBe('suspect'))
  expect(way.node()?.reasons).toEqual(['canary failed 2 x: not a bot'])
  await way.until(() => expect(way.store.values.size).toBe(0))
  expect(way.store.log).toContain('because exhausted')
  expect(way.asked).toEqual(['fra1'])
  await way.until(() => expect(way.stopped).toEqual(['fra1']))
  await way.until(() => expect(way.fleet.slots).toEqual([]))
  expect(way.sidecar.nodes.get('fra1')?.health.state).toBe('retired')
  // A retired node stays so, whatever comes.
  way.sidecar.report({ node: 'fra1', starts: 20, failed: {}, windowMs: 1_000 })
  expect(way.store.values.size).toBe(0)
})

test('the last ready node stays announced as exhausted, and is ready again when tracks load', async () => {
  await using way = await setup()
  await way.until(() => expect(way.node()?.state).toBe('ready'))
  way.fake.load = () => bot
  await way.until(() => expect(way.node()?.state).toBe('exhausted'))
  way.clock.advance(15_000)
  expect(way.asked).toEqual([])
  way.fake.load = () => 'track'
  await way.until(() => expect(way.node()?.state).toBe('ready'))
  expect(way.stopped).toEqual([])
})

test('nothing is retired while the fleet cannot be seen', async () => {
  await using way = await setup()
  way.fleet.others = [other]
  way.fleet.failure = new Error('There is no connection to the hub.')
  await way.until(() => expect(way.node()?.state).toBe('ready'))
  way.fake.load = () => bot
  await way.until(() => expect(way.node()?.state).toBe('exhausted'))
  way.clock.advance(15_000)
  expect(way.asked).toEqual([])
})

test('a node that was exhausted is so after a restart of its sidecar', async () => {
  await using way = await setup({ RETIRE: 'no' })
  await way.until(() => expect(way.node()?.state).toBe('ready'))
  way.fake.load = () => bot
  await way.until(() => expect(way.node()?.state).toBe('exhausted'))
  await way.restart()
  await way.until(() => expect(way.node()?.state).toBe('exhausted'))
  const saved = JSON.parse(await readFile(join(way.folder.path, 'fra1.json'), 'utf8'))
  expect(saved).toMatchObject({ version: 1, state: 'exhausted', played: true, bans: [] })
})

test('reports of bots make a node suspect at once', async () => {
  await using way = await setup()
  await way.until(() => expect(way.node()?.state).toBe('ready'))
  way.sidecar.report({ node: 'fra1', starts: 30, failed: { rate: 20 }, windowMs: 5_000 })
  expect(way.node()).toMatchObject({ state: 'suspect', reasons: ['20 of 30 starts failed in 5 min: rate-limited'] })
  way.sidecar.report({ node: 'ams1', starts: 30, failed: {}, windowMs: 5_000 })
})
