import { connect } from '@damon/client/connect'
import type { RecordChange } from '@damon/client/watch'
import { nodeEvents } from '@damon/protocol/audio'
import { drainBudget, type NodeRecord, nodeRecord } from '@damon/protocol/records'
import { eventually as poll } from '@damon/testkit/eventually'
import { FakeLavalink } from '@damon/testkit/fake-lavalink'
import { type RunningService, startService } from '@damon/testkit/process'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { buildHouse, type House, serviceScript } from '../src/house.ts'

const sidecarRights = [
  'put:node/*',
  'put:node-secret/*',
  'get:node/*',
  'get:service/sidecar/*',
  'get:fleet/drain',
  'put:fleet/drain',
  'ask:group/bots:node.*',
]
const botRights = ['join:bots', 'get:node/*', 'get:fleet/*', 'send:client/sidecar/*:node.*']
const eventually = <T>(check: () => T | Promise<T>): Promise<T> => poll(check, { deadlineMs: 30_000 })

vi.setConfig({ testTimeout: 90_000 })

let house: House
let hub: RunningService
let url: string

beforeAll(async () => {
  house = await buildHouse()
  hub = await house.startHub()
  url = hub.ready.url!
})

afterAll(async () => {
  await hub?.[Symbol.asyncDispose]()
  await house?.[Symbol.asyncDispose]()
})

/** A sidecar that decides within seconds. */
async function startSidecar(env: Record<string, string>, name: string) {
  return startService(serviceScript('sidecar'), {
    DAMON_CONNECTION_FILE: await house.connectionFile(url, `sidecar/${name}`, sidecarRights),
    NODE_ADDRESS: 'localhost',
    POLL_MS: '100',
    CANARY_MS: '1000',
    RESUME_MS: '0',
    DRAIN_MS: '1000',
    THRESHOLDS: 'canaryFailures=2,exhaustedMs=500,fleetPatienceMs=0',
    ...env,
  })
}

const connectBot = async (name: string) => connect(await house.credential(url, `bot/${name}`, botRights))

describe('a spent audio node', () => {
  it('retires alone of two that share a sidecar, and the last one stays', async () => {
    await using first = await FakeLavalink.start()
    await using second = await FakeLavalink.start()
    const LAVALINKS = JSON.stringify({
      nodes: [
        { id: 'pair-a', url: first.url, password: first.password },
        { id: 'pair-b', url: second.url, password: second.password },
      ],
    })
    await using sidecar = await startSidecar({ LAVALINKS }, 'pair')
    await using bot = await connectBot('pair')
    await bot.join('bots')
    const asked: unknown[] = []
    bot.handle(nodeEvents.drain, (value) => {
      asked.push(value)
      return { moved: 0, failed: 0 }
    })
    const nodes = bot.watch('node/')
    const node = (id: string): NodeRecord => nodeRecord.parse(nodes.entries.get(`node/${id}`)?.value)
    const drops: RecordChange[] = []
    nodes.on('change', (change) => void (change.type === 'drop' && drops.push(change)))
    await eventually(() => expect([node('pair-a').state, node('pair-b').state]).toEqual(['ready', 'ready']))
    expect(node('pair-a')).toMatchObject({ sidecar: 'sidecar/pair', reachability: 'unproved' })

    first.load = () => ({ fails: 'Sign in to confirm you’re not a bot' })
    await eventually(() => expect(drops).toMatchObject([{ key: 'node/pair-a', reason: 'exhausted' }]))
    expect(asked).toEqual([{ node: 'pair-a' }])
    await eventually(async () =>
      expect(drainBudget.parse((await bot.get('fleet/drain'))?.value).slots.map((slot) => slot.node)).not.toContain(
        'pair-a',
      ),
    )

    second.load = first.load
    await eventually(() => expect(node('pair-b').state).toBe('exhausted'))
    await sidecar.says('no other node is ready')
    second.load = () => 'track'
    await eventually(() => expect(node('pair-b').state).toBe('ready'))
    expect(drops).toHaveLength(1)
    sidecar.signal('SIGTERM')
    expect(await sidecar.exited).toMatchObject({ code: 0 })
    await eventually(() => expect(drops[1]).toMatchObject({ key: 'node/pair-b', reason: 'retired' }))
  })

  it('is suspect as soon as a bot reports its failures', async () => {
    await using lavalink = await FakeLavalink.start()
    const env = { LAVALINK_URL: lavalink.url, LAVALINK_PASSWORD: lavalink.password, CANARY_TRACKS: 'none' }
    await using _sidecar = await startSidecar(env, 'told')
    await using bot = await connectBot('told')
    const nodes = bot.watch('node/')
    const node = (): NodeRecord => nodeRecord.parse(nodes.entries.get('node/told')?.value)
    await eventually(() => expect(node().state).toBe('ready'))
    const report = { node: 'told', starts: 25, failed: { rate: 20 }, windowMs: 30_000 }
    await bot.client('sidecar', 'told').send(nodeEvents.outcomes, report)
    await eventually(() =>
      expect(node()).toMatchObject({ state: 'suspect', reasons: ['20 of 25 starts failed in 5 min: rate-limited'] }),
    )
  })
})
