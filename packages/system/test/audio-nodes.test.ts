import { connect } from '@damon/client/connect'
import type { Hub } from '@damon/client/hub'
import { type AttachedNodes, attachNodes } from '@damon/client/lavalink/attach-nodes'
import type { RecordChange } from '@damon/client/watch'
import { nodeRecord } from '@damon/protocol/records'
import { eventually as poll } from '@damon/testkit/eventually'
import { FakeLavalink } from '@damon/testkit/fake-lavalink'
import type { JournalEntry } from '@damon/testkit/fake-player'
import { troubles } from '@damon/testkit/fake-tracks'
import { onFreePorts } from '@damon/testkit/free-port'
import { type RunningService, startService } from '@damon/testkit/process'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { type RealBot, realBots } from '../../client/test/lavalink/real-bots.ts'
import { buildHouse, type House, serviceScript } from '../src/house.ts'

const botRights = ['join:bots', 'get:node/*', 'get:node-secret/*', 'get:service/*', 'send:client/sidecar/*:node.*']
const sidecarRights = (id: string) => [
  ...[`put:node/${id}`, `put:node-secret/${id}`, 'get:node/*', 'get:service/sidecar/*'],
  ...['get:fleet/drain', 'put:fleet/drain', 'ask:group/bots:node.*'],
]

/** The times of a decision, shortened from minutes: three tests a second apart fail, and a second later a node is spent. */
const quickDecision = {
  ...{ POLL_MS: '100', CANARY_MS: '1000', RESUME_MS: '0', RETIRE_MS: '10000' },
  THRESHOLDS: 'exhaustedMs=1000,fleetPatienceMs=500',
}

/** What the product promises: no music stops for longer, ms. */
const silenceMs = 2_000
const eventually = <T>(check: () => T | Promise<T>): Promise<T> => poll(check, { deadlineMs: 30_000 })

vi.setConfig({ testTimeout: 120_000 })

let house: House

beforeAll(async () => {
  house = await buildHouse()
})

afterAll(async () => {
  await house?.[Symbol.asyncDispose]()
})

/** A Lavalink with its sidecar beside it, as a process. */
interface Place {
  id: string
  lavalink: FakeLavalink
  sidecar: RunningService
  restartSidecar(): Promise<void>
}

/** Hub, audio nodes, and a bot of each library, all connected and ready to play. */
class Fleet {
  readonly url: string
  readonly places: Place[] = []
  readonly bots: (RealBot & { hub: Hub; nodes: AttachedNodes })[] = []
  readonly changes: RecordChange[] = []

  constructor(url: string) {
    this.url = url
  }

  /** With so many nodes, named a, b, c and so on. */
  static async start(size: number, url?: string, env?: Record<string, string>): Promise<Fleet> {
    let at = url
    if (at === undefined) {
      const hub = await house.startHub({ HUB_LEASE_GRACE_MS: '1000' })
      onTestFinished(() => hub[Symbol.asyncDispose]())
      at = hub.ready.url!
    }
    const fleet = new Fleet(at)
    const ids = Array.from({ length: size }, (_, i) => 'abcdefgh'[i]!)
    await Promise.all([...ids.map((id) => fleet.announce(id, env)), fleet.#connectBots()])
    const watch = fleet.bots[0]!.hub.watch('node/')
    watch.on('change', (change) => fleet.changes.push(change))
    await fleet.allConnected(ids)
    return fleet
  }

  async announce(id: string, env: Record<string, string> = {}): Promise<Place> {
    const lavalink = await FakeLavalink.start({ playerUpdateMs: 100 })
    onTestFinished(() => lavalink.kill())
    const start = async () => {
      const sidecar = await startService(serviceScript('sidecar'), {
        DAMON_CONNECTION_FILE: await house.connectionFile(this.url, `sidecar/${id}`, sidecarRights(id)),
        LAVALINK_URL: lavalink.url,
        LAVALINK_PASSWORD: lavalink.password,
        ...quickDecision,
        ...env,
      })
      // The music of a test that is over need not move.
      onTestFinished(() => {
        sidecar.signal('SIGKILL')
        return sidecar.exited.then(() => {})
      })
      return sidecar
    }
    const place: Place = {
      id,
      lavalink,
      sidecar: await start(),
      async restartSidecar() {
        place.sidecar.signal('SIGKILL')
        await place.sidecar.exited
        place.sidecar = await start()
      },
    }
    this.places.push(place)
    return place
  }

  at(id: string): Place {
    return this.places.find((place) => place.id === id)!
  }

  /** Each bot plays in so many guilds. */
  async play(guilds: number, from = 1): Promise<void> {
    for (const [i, bot] of this.bots.entries())
      for (let guild = from; guild < from + guilds; guild++) await bot.play(`${i + 1}0${guild}`, `song-${guild}`)
  }

  /** Guilds in which a track sounds, by the node that plays it. */
  playing(): Record<string, number> {
    const counts = this.places.map(({ id, lavalink }) => {
      const playing = isRunning(lavalink) ? lavalink.sessions.counts.playingPlayers : 0
      return [id, playing] as const
    })
    return Object.fromEntries(counts.filter(([, playing]) => playing > 0))
  }

  total(): number {
    return Object.values(this.playing()).reduce((sum, count) => sum + count, 0)
  }

  state(id: string): string | undefined {
    const last = this.changes.findLast(({ key }) => key === `node/${id}`)
    return last?.entry && nodeRecord.parse(last.entry.value).state
  }

  /** Both bots are connected to these nodes and to no other. */
  async allConnected(ids: readonly string[]): Promise<void> {
    await eventually(() => {
      for (const { nodes } of this.bots) {
        const connected = nodes.all().flatMap((node) => (node.connected ? [node.id] : []))
        expect(connected.sort()).toEqual([...ids].sort())
      }
    })
  }

  /** How often nodes were connected, and the library's name of each. */
  connections(): unknown {
    return {
      upgrades: this.places.map(({ lavalink }) => lavalink.upgrades),
      names: this.bots.map(({ adapter }) => adapter.nodes().map(({ name }) => name)),
    }
  }

  /** All journals as one, in order. */
  journal(): (JournalEntry & { node: string })[] {
    const all = this.places.flatMap(({ id, lavalink }) => lavalink.journal.map((entry) => ({ ...entry, node: id })))
    return all.sort((a, b) => a.at - b.at)
  }

  /** The pauses in the music of all guilds: each goes on with the track where it stopped, and nobody went on to the next. */
  silences(): number[] {
    const silences: number[] = []
    const open = new Map<string, JournalEntry>()
    for (const entry of this.journal()) {
      const before = open.get(entry.guild)
      if (entry.what === 'end') open.set(entry.guild, entry)
      else if (before) {
        expect(entry.track).toBe(before.track)
        const jump = Math.abs(entry.position - before.position)
        expect(jump, 'the track goes on where it stopped').toBeLessThan(silenceMs)
        silences.push(entry.at - before.at)
        open.delete(entry.guild)
      }
    }
    expect([...open.keys()], 'guilds without music').toEqual([])
    for (const { ends } of this.bots) expect(ends).toEqual([])
    return silences
  }

  async #connectBots(): Promise<void> {
    for (const [name, makeBot] of Object.entries(realBots)) {
      const hub = await connect(await house.credential(this.url, `bot/${name}`, botRights))
      const bot = makeBot()
      const nodes = attachNodes(hub, bot.adapter)
      onTestFinished(async () => {
        nodes[Symbol.dispose]()
        bot[Symbol.dispose]()
        await hub.close()
      })
      this.bots.push(Object.assign(bot, { hub, nodes }))
    }
  }
}

function isRunning(lavalink: FakeLavalink): boolean {
  try {
    return Boolean(lavalink.sessions)
  } catch {
    return false
  }
}

function expectShort(silences: number[], moved: number): void {
  expect(silences).toHaveLength(moved)
  expect(Math.max(0, ...silences)).toBeLessThan(silenceMs)
}

describe('the music of two bots', () => {
  it('moves off a node that YouTube refuses before anybody notices, and the node is retired as exhausted', async () => {
    const fleet = await Fleet.start(3)
    await fleet.play(6)
    const before = fleet.playing()
    expect(Object.keys(before)).toHaveLength(3)
    fleet.at('a').lavalink.load = () => ({ fails: troubles.rate })
    await eventually(() => expect(fleet.state('a')).toBeUndefined())
    expect(fleet.changes.findLast(({ key }) => key === 'node/a')).toMatchObject({ type: 'drop', reason: 'exhausted' })
    await fleet.allConnected(['b', 'c'])
    expect(fleet.total()).toBe(12)
    expectShort(fleet.silences(), before.a!)
    expect(fleet.at('a').lavalink.sessions.clients).toEqual([])
    // Each bot has answered for its own players.
    expect(fleet.at('a').sidecar.output).toContain('"moved":')
    expect(fleet.at('a').sidecar.output).not.toContain('not drained')
  })

  it('is played by a new node as soon as that is announced', async () => {
    const fleet = await Fleet.start(1)
    await fleet.play(3)
    expect(fleet.playing()).toEqual({ a: 6 })
    await fleet.announce('b')
    await fleet.allConnected(['a', 'b'])
    await fleet.play(1, 50)
    expect(fleet.playing()).toEqual({ a: 6, b: 2 })
    expect(fleet.silences()).toEqual([])
  })

  it('goes on elsewhere at once when a Lavalink is killed', async () => {
    const fleet = await Fleet.start(3)
    await fleet.play(6)
    const { b } = fleet.playing()
    await fleet.at('b').lavalink.kill()
    await eventually(() => expect(fleet.total()).toBe(12))
    expectShort(fleet.silences(), b!)
    expect(Object.keys(fleet.playing()).sort()).toEqual(['a', 'c'])
    await fleet.at('b').lavalink.start()
    await fleet.allConnected(['a', 'b', 'c'])
  })

  it('does not notice that a sidecar is killed and comes back', async () => {
    const fleet = await Fleet.start(2)
    await fleet.play(2)
    const connections = fleet.connections()
    fleet.at('a').sidecar.signal('SIGKILL')
    // Until its lease and the grace are over.
    await eventually(() =>
      expect(fleet.changes.findLast(({ key }) => key === 'node/a')).toMatchObject({ type: 'drop', reason: 'expired' }),
    )
    await fleet.at('a').restartSidecar()
    await eventually(() => expect(fleet.state('a')).toBe('ready'))
    await eventually(() => {
      for (const { nodes } of fleet.bots) expect(nodes.all().every(({ unattended }) => !unattended)).toBe(true)
    })
    expect(fleet.connections()).toEqual(connections)
    expect(fleet.silences()).toEqual([])
  })

  it('does not notice that the hub is gone, and new players find their nodes; nor that it is back without a memory', async () => {
    await onFreePorts(1, async ([port]) => {
      const startHub = () => house.startHub({ HUB_PORT: String(port), HUB_LEASE_GRACE_MS: '1000' })
      const first = await startHub()
      const fleet = await Fleet.start(2, first.ready.url!)
      await fleet.play(2)
      const connections = fleet.connections()
      await first[Symbol.asyncDispose]()
      await eventually(() => {
        for (const { hub } of fleet.bots) expect(hub.state).toBe('reconnecting')
      })
      await fleet.play(1, 50)
      await using _second = await startHub()
      await eventually(() => {
        for (const { hub, nodes } of fleet.bots) {
          expect(hub.state).toBe('connected')
          expect(nodes.all()).toMatchObject([{ unattended: false }, { unattended: false }])
        }
      })
      expect(fleet.connections()).toEqual(connections)
      expect(fleet.total()).toBe(6)
      expect(fleet.silences()).toEqual([])
    })
  })

  it('stays where it is when all nodes are refused together: YouTube changed, and nothing is retired', async () => {
    // As in the product, the tests of all of them have failed long before the first is spent.
    const fleet = await Fleet.start(4, undefined, { THRESHOLDS: 'exhaustedMs=12000,fleetPatienceMs=500' })
    await fleet.play(4)
    const before = fleet.playing()
    for (const id of ['a', 'b', 'c']) fleet.at(id).lavalink.load = () => ({ fails: troubles.bot })
    await eventually(() => {
      expect(['a', 'b', 'c'].map((id) => fleet.state(id))).toEqual(['exhausted', 'exhausted', 'exhausted'])
      for (const id of ['a', 'b', 'c']) expect(fleet.at(id).sidecar.output).toContain('in trouble together')
    })
    expect(fleet.playing()).toEqual(before)
    // Whoever begins to play now does so where it works.
    await fleet.play(1, 50)
    expect(fleet.playing()).toEqual({ ...before, d: (before.d ?? 0) + 2 })
    expect(fleet.changes.filter(({ type }) => type === 'drop')).toEqual([])
    expect(fleet.silences()).toEqual([])
  })
})

describe('a node that is', () => {
  it('slow is used and left in time', async () => {
    const fleet = await Fleet.start(2)
    await fleet.play(6)
    fleet.at('a').lavalink.mood = { kind: 'slow', ms: 300 }
    const { a = 0 } = fleet.playing()
    fleet.at('a').sidecar.signal('SIGTERM')
    expect(await fleet.at('a').sidecar.exited).toMatchObject({ code: 0 })
    await fleet.allConnected(['b'])
    expect(fleet.playing()).toEqual({ b: 12 })
    expectShort(fleet.silences(), a)
  })

  it('flapping loses its players once, and gets no new ones', async () => {
    const fleet = await Fleet.start(2)
    await fleet.play(6)
    const { a = 0 } = fleet.playing()
    for (let flaps = 0; flaps < 3; flaps++) {
      const { lavalink } = fleet.at('a')
      const { upgrades } = lavalink
      lavalink.sessions.hangUp()
      await eventually(() => expect(lavalink.upgrades).toBeGreaterThanOrEqual(upgrades + 2))
      await fleet.allConnected(['a', 'b'])
    }
    await fleet.play(2, 50)
    expect(fleet.playing()).toEqual({ b: 16 })
    expectShort(fleet.silences(), a)
  })

  it('misconfigured is not retired, and its music moves when the bots lose it, too', async () => {
    const fleet = await Fleet.start(2)
    await fleet.play(6)
    const { a = 0 } = fleet.playing()
    fleet.at('a').lavalink.mood = { kind: 'failing', status: 404 }
    await eventually(() => expect(fleet.state('a')).toBe('misconfigured'))
    await fleet.play(2, 50)
    expect(fleet.playing()).toEqual({ a, b: 16 - a })
    fleet.at('a').lavalink.sessions.hangUp()
    await eventually(() => expect(fleet.playing()).toEqual({ b: 16 }))
    expectShort(fleet.silences(), a)
    expect(fleet.changes.filter(({ type }) => type === 'drop')).toEqual([])
  })

  it('lying harms nobody', async () => {
    const fleet = await Fleet.start(2)
    await fleet.play(6)
    const { a = 0 } = fleet.playing()
    fleet.at('a').lavalink.mood = { kind: 'lying', body: 'other-json' }
    await eventually(() => expect(fleet.state('a')).toBe('misconfigured'))
    await fleet.play(2, 50)
    expect(fleet.playing()).toEqual({ a, b: 16 - a })
    fleet.at('a').lavalink.mood = { kind: 'lying', body: 'no-json' }
    fleet.at('a').lavalink.sessions.hangUp()
    await eventually(() => expect(fleet.playing()).toEqual({ b: 16 }))
    expectShort(fleet.silences(), a)
    fleet.at('a').lavalink.mood = { kind: 'well' }
    await fleet.allConnected(['a', 'b'])
    await eventually(() => expect(fleet.state('a')).not.toBe('misconfigured'))
  })
})
