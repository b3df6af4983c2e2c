import { connect } from '@damon/client/connect'
import type { Hub } from '@damon/client/hub'
import type { RecordChange, Watch } from '@damon/client/watch'
import { type NodeRecord, nodeRecord, serviceRecord } from '@damon/protocol/records'
import { eventually as poll } from '@damon/testkit/eventually'
import { FakeLavalink } from '@damon/testkit/fake-lavalink'
import { onFreePorts } from '@damon/testkit/free-port'
import { type RunningService, startService } from '@damon/testkit/process'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { buildHouse, type House, serviceScript } from '../src/house.ts'

const botRights = ['join:bots', 'get:node/*', 'get:node-secret/*', 'get:service/*', 'ask:group/hubs:hub.status']
const password = 'only for bots 9f2c'

/** What the product does within 2 s may take this long on a busy machine, ms. */
const deadlineMs = 20_000
const eventually = <T>(check: () => T | Promise<T>): Promise<T> => poll(check, { deadlineMs })

// The pauses of a client that looks for its hub come to half a minute.
vi.setConfig({ testTimeout: 60_000 })

let house: House
let hub: RunningService
let url: string

beforeAll(async () => {
  house = await buildHouse()
  hub = await house.startHub({ HUB_LEASE_GRACE_MS: '1000' })
  url = hub.ready.url!
})

afterAll(async () => {
  await hub?.[Symbol.asyncDispose]()
  await house?.[Symbol.asyncDispose]()
})

/** The sidecar of a node as a process beside its Lavalink. */
async function startSidecar(
  id: string,
  lavalink: FakeLavalink,
  options: { url?: string; env?: Record<string, string> } = {},
) {
  const rights = [`put:node/${id}`, `put:node-secret/${id}`, 'ask:group/bots:node.drain']
  return startService(serviceScript('sidecar'), {
    DAMON_CONNECTION_FILE: await house.connectionFile(options.url ?? url, `sidecar/${id}`, rights),
    LAVALINK_URL: lavalink.url,
    LAVALINK_PASSWORD: lavalink.password,
    NODE_ADDRESS: 'localhost',
    POLL_MS: '100',
    ...options.env,
  })
}

async function connectBot(name: string, can = botRights): Promise<Hub> {
  return connect(await house.credential(url, `bot/${name}`, can))
}

/** A bot whose connection is held by another worker than that of the node's sidecar. */
async function botOnAnotherWorker(id: string): Promise<Hub> {
  for (let tries = 0; tries < 20; tries++) {
    const bot = await connectBot(`${id}-${tries}`)
    const workers = await eventually(async () => {
      const own = (await bot.list(`service/bot/${id}-${tries}/`))[0]
      const sidecar = (await bot.list(`service/sidecar/${id}/`))[0]
      return [own, sidecar].map((entry) => serviceRecord.parse(entry?.value).worker)
    })
    if (workers[0] !== workers[1]) return bot
    await bot.close()
  }
  throw new Error('Every bot came to the worker of the sidecar.')
}

function nodeIn(watch: Watch, id: string): NodeRecord {
  return nodeRecord.parse(watch.entries.get(`node/${id}`)?.value)
}

/** The only session of a service. */
function sessionIn(watch: Watch): { key: string; worker: number } {
  expect(watch.entries.size).toBe(1)
  const [entry] = [...watch.entries.values()]
  return { key: entry!.key, worker: serviceRecord.parse(entry!.value).worker }
}

function changesOf(watch: Watch, key: string): RecordChange[] {
  const changes: RecordChange[] = []
  watch.on('change', (change) => {
    if (change.key === key) changes.push(change)
  })
  return changes
}

describe('an audio node on its way to the bots', () => {
  it('is known with address, port, password and load to a bot on another worker', async () => {
    await using lavalink = await FakeLavalink.start({ password })
    lavalink.stats = { ...lavalink.stats, players: 3, playingPlayers: 2 }
    await using sidecar = await startSidecar('way', lavalink)
    await using bot = await botOnAnotherWorker('way')
    const nodes = bot.watch('node/')
    const secrets = bot.watch('node-secret/')
    await eventually(() => {
      expect(nodeIn(nodes, 'way')).toMatchObject({
        state: 'ready',
        address: { host: 'localhost', port: lavalink.port, secure: false },
        version: '4.2.2',
        load: { players: 3, playingPlayers: 2 },
      })
      expect(secrets.entries.get('node-secret/way')?.value).toEqual({ password })
    })
    lavalink.stats = { ...lavalink.stats, players: 4, playingPlayers: 0 }
    await eventually(() => expect(nodeIn(nodes, 'way').load?.players).toBe(4))
    expect(sidecar.output).not.toContain(password)
    sidecar.signal('SIGTERM')
    expect(await sidecar.exited).toMatchObject({ code: 0 })
  })

  it('is unreachable when its Lavalink stops, and ready when it is back', async () => {
    await using lavalink = await FakeLavalink.start({ password })
    await using _sidecar = await startSidecar('stops', lavalink)
    await using bot = await connectBot('stops')
    const nodes = bot.watch('node/')
    await eventually(() => expect(nodeIn(nodes, 'stops').state).toBe('ready'))
    await lavalink.kill()
    await eventually(() => expect(nodeIn(nodes, 'stops')).toMatchObject({ state: 'unreachable', load: null }))
    expect(nodeIn(nodes, 'stops').reasons.join()).toMatch(/^Lavalink .*3 or more times in a row$/)
    await lavalink.start()
    await eventually(() => expect(nodeIn(nodes, 'stops')).toMatchObject({ state: 'ready', reasons: [] }))
  })

  it('is drained and retired on SIGTERM: the bots are asked, the music ends, the record goes with its reason', async () => {
    await using lavalink = await FakeLavalink.start({ password })
    lavalink.stats = { ...lavalink.stats, players: 1, playingPlayers: 1 }
    await using sidecar = await startSidecar('drained', lavalink)
    await using bot = await connectBot('drained')
    await using _deaf = await connectBot('deaf')
    await Promise.all([bot.join('bots'), _deaf.join('bots')])
    const nodes = bot.watch('node/')
    const changes = changesOf(nodes, 'node/drained')
    const states: string[] = []
    bot.handle('node.drain', async (value, { from }) => {
      expect(from).toBe('sidecar/drained')
      await eventually(() => expect(nodeIn(nodes, 'drained').state).toBe('draining'))
      states.push(JSON.stringify(value))
      lavalink.stats = { ...lavalink.stats, playingPlayers: 0 }
      return { moved: 1, failed: 0 }
    })
    await eventually(() => expect(nodeIn(nodes, 'drained').state).toBe('ready'))
    sidecar.signal('SIGTERM')
    expect(await sidecar.exited).toMatchObject({ code: 0 })
    expect(states).toEqual(['{"node":"drained"}'])
    await eventually(() => expect(changes.at(-1)).toMatchObject({ type: 'drop', reason: 'retired' }))
    expect(await bot.get('node-secret/drained')).toBeUndefined()
    expect(sidecar.output).toContain('no_handler')
    expect(sidecar.output).not.toContain('not drained')
  })

  it('is retired at once by a second SIGTERM, although something still plays', async () => {
    await using lavalink = await FakeLavalink.start({ password })
    lavalink.stats = { ...lavalink.stats, players: 1, playingPlayers: 1 }
    await using sidecar = await startSidecar('hurried', lavalink, {
      env: { DRAIN_MS: '500000', SHUTDOWN_MS: '600000' },
    })
    await using bot = await connectBot('hurried')
    const nodes = bot.watch('node/')
    const changes = changesOf(nodes, 'node/hurried')
    await eventually(() => expect(nodeIn(nodes, 'hurried').state).toBe('ready'))
    sidecar.signal('SIGTERM')
    await eventually(() => expect(nodeIn(nodes, 'hurried').state).toBe('draining'))
    // Signals within half a second are one wish.
    const repeat = setInterval(() => sidecar.signal('SIGTERM'), 100)
    await sidecar.says('hurried by a second signal')
    clearInterval(repeat)
    expect(await sidecar.exited).toMatchObject({ code: 0 })
    await eventually(() => expect(changes.at(-1)).toMatchObject({ type: 'drop', reason: 'retired' }))
  })

  it('is suspect when its sidecar is killed, and gone after the grace', async () => {
    await using lavalink = await FakeLavalink.start({ password })
    await using sidecar = await startSidecar('killed', lavalink)
    await using bot = await connectBot('killed')
    const nodes = bot.watch('node/')
    const changes = changesOf(nodes, 'node/killed')
    await eventually(() => expect(nodeIn(nodes, 'killed').state).toBe('ready'))
    sidecar.signal('SIGKILL')
    await eventually(() => expect(changes.map(({ type }) => type)).toEqual(expect.arrayContaining(['suspect', 'drop'])))
    expect(nodes.entries.has('node/killed')).toBe(false)
    expect(await bot.get('node-secret/killed')).toBeUndefined()
  })

  it('stays announced when the hub worker that holds its sidecar is killed', async () => {
    await using lavalink = await FakeLavalink.start({ password })
    await using _sidecar = await startSidecar('moved', lavalink)
    await using bot = await botOnAnotherWorker('moved')
    const nodes = bot.watch('node/')
    await eventually(() => expect(nodeIn(nodes, 'moved').state).toBe('ready'))
    const services = bot.watch('service/sidecar/moved/')
    const before = await eventually(() => sessionIn(services))
    const workers = await bot.group('hubs').request<{ origin: number; pid: number }>('hub.status', null)
    const holder = workers.find(({ value }) => value?.origin === before.worker)
    process.kill(holder!.value!.pid, 'SIGKILL')
    await eventually(() => {
      // The same session, on another worker.
      expect(sessionIn(services)).toMatchObject({ key: before.key })
      expect(sessionIn(services).worker).not.toBe(before.worker)
      expect(nodes.entries.get('node/moved')?.state).toBe('live')
    })
    lavalink.stats = { ...lavalink.stats, players: 7 }
    await eventually(() => expect(nodeIn(nodes, 'moved')).toMatchObject({ state: 'ready', load: { players: 7 } }))
  })

  it('is announced again by a sidecar that follows a killed one', async () => {
    await using lavalink = await FakeLavalink.start({ password })
    await using first = await startSidecar('followed', lavalink)
    await using bot = await connectBot('followed')
    const nodes = bot.watch('node/')
    await eventually(() => expect(nodeIn(nodes, 'followed').state).toBe('ready'))
    const generation = nodes.entries.get('node/followed')!.generation
    first.signal('SIGKILL')
    await first.exited
    await using _second = await startSidecar('followed', lavalink)
    await eventually(() => {
      const entry = nodes.entries.get('node/followed')
      expect(entry?.generation).toBeGreaterThan(generation)
      expect(entry?.state).toBe('live')
    })
  })

  it('is announced by a sidecar that was there before the hub', async () => {
    await using lavalink = await FakeLavalink.start({ password })
    await onFreePorts(1, async ([port]) => {
      const later = `wss://localhost:${port}`
      await using sidecar = await startSidecar('early', lavalink, { url: later })
      await sidecar.says('node ready')
      await using _hub = await house.startHub({ HUB_PORT: String(port) })
      await using bot = await connect(await house.credential(later, 'bot/early', botRights))
      const nodes = bot.watch('node/')
      await eventually(() => expect(nodeIn(nodes, 'early').state).toBe('ready'))
    })
  })
})

describe('the password of an audio node', () => {
  it('is never seen with a token that has no get:node-secret', async () => {
    await using lavalink = await FakeLavalink.start({ password })
    await using _sidecar = await startSidecar('secret', lavalink)
    await using stranger = await connectBot('stranger', ['join:bots', 'get:node/*'])
    const nodes = stranger.watch('node/')
    await eventually(() => expect(nodeIn(nodes, 'secret').state).toBe('ready'))
    await expect(stranger.get('node-secret/secret')).rejects.toMatchObject({ code: 'denied' })
    await expect(stranger.list('node-secret/')).rejects.toMatchObject({ code: 'denied' })
    await expect(stranger.watch('node-secret/').ready()).rejects.toMatchObject({ code: 'denied' })
    await expect(stranger.watch('').ready()).rejects.toMatchObject({ code: 'denied' })
    const seen = [...nodes.entries.values()].map(({ bytes }) => new TextDecoder().decode(bytes)).join()
    expect(seen).not.toContain(password)
  })
})
