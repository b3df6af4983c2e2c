import type { RecordEntry } from '@damon/client/record-entry'
import type { Watch as ClientWatch } from '@damon/client/watch'
import { Watches as ClientWatches } from '@damon/client/watches'
import { digestOf } from '@damon/protocol/digest'
import type { ClientFrame, HubFrame } from '@damon/protocol/frames'
import { isUnder } from '@damon/protocol/names'
import { createLogger } from '@damon/runtime/logger'
import { Registry } from 'prom-client'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { Context } from '../src/context.ts'
import { openKept } from '../src/embedded/kept.ts'
import { EmbeddedState } from '../src/embedded/state.ts'
import { ping } from '../src/handlers/ping.ts'
import { unwatch } from '../src/handlers/unwatch.ts'
import { watch } from '../src/handlers/watch.ts'
import { createMetrics, type Metrics } from '../src/metrics.ts'
import { Replica } from '../src/replica.ts'
import type { Session } from '../src/session.ts'
import { Watches } from '../src/watches.ts'

const log = createLogger({ service: 'test', level: 'silent' })
const prefixes = ['', 'a/', 'a/b/', 'c/', 'a/b/1']
const keys = ['a/1', 'a/2', 'a/3', 'a/b/1', 'a/b/2', 'c/1', 'c/2', 'd']
const epoch = 'e1'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

/** Numbers from 0 to below 1 that are the same for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** What goes wrong, each with its probability per occasion. */
interface Faults {
  /** A change does not reach a worker. */
  change: number
  /** A frame does not reach a watcher, and the line lives on. */
  frame: number
  /** A watcher has something else than it was told. */
  memory: number
}

/** A store, two workers with copies of its records, and clients that watch through them: all the real code but the lines. */
class World {
  readonly random: () => number
  readonly faults: Faults
  readonly metrics: Metrics
  readonly state: EmbeddedState
  readonly workers: Worker[] = []
  readonly clients: Client[] = []
  readonly sessions: string[] = []
  #count = 0
  #now = 0

  constructor(seed: number, faults: Faults, registry: Registry) {
    this.random = randomOf(seed)
    this.faults = faults
    this.metrics = createMetrics(registry)
    const nothing = () => undefined
    this.state = new EmbeddedState({
      kept: openKept(':memory:'),
      times: { graceMs: 3_000, awayMs: 500, resumeMs: 2_000 },
      now: () => this.#now,
      unreserved: nothing,
      audience: {
        change: (to, change) => {
          if (!this.happens(faults.change)) this.workers.find(({ origin }) => origin === to)?.replica.take(change)
        },
        ...{ batch: nothing, gone: nothing, over: nothing, release: nothing, ended: nothing },
      },
    })
  }

  happens(probability: number): boolean {
    return this.random() < probability
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)] as T
  }

  async begin(): Promise<void> {
    for (let i = 0; i < 2; i++) {
      const worker = new Worker(this)
      this.workers.push(worker)
      await worker.replica.start({ snapshot: async () => this.state.snapshot() })
    }
    for (const prefix of prefixes) for (let i = 0; i < 2; i++) this.clients.push(new Client(this, prefix))
    for (const client of this.clients) client.connect()
  }

  async step(): Promise<void> {
    const dice = this.random()
    if (dice < 0.5) this.write()
    else if (dice < 0.6) this.#startSession()
    else if (dice < 0.66 && this.sessions.length > 0) this.#endSession()
    else if (dice < 0.69) this.pick(this.clients).cut()
    else if (dice < 0.75) this.pick(this.clients).connect()
    else if (dice < 0.81) this.pick(this.clients).room = this.pick([0, 2, Number.POSITIVE_INFINITY])
    else if (dice < 0.87) this.pick(this.clients).drain()
    else if (dice < 0.92) await this.pass(250)
    else this.pick(this.clients).ping()
    if (this.happens(this.faults.memory)) this.pick(this.clients).corrupt()
  }

  write(): void {
    const key = this.pick(keys)
    const owner = this.sessions.length > 0 ? this.pick(this.sessions) : ''
    const subject = this.pick(['bot/a', 'bot/b'])
    const value = `"${++this.#count}"`
    const dice = this.random()
    if (dice < 0.5) this.state.put({ owner, subject, key, value, leased: true })
    else if (dice < 0.65) this.state.put({ owner, subject, key, value, leased: false })
    else if (dice < 0.8) this.state.patch(owner, key, value)
    else this.state.drop({ owner, subject, key, reason: 'over' })
  }

  /** Time passes, for the store and for everybody's timers. */
  async pass(ms: number): Promise<void> {
    this.#now += ms
    for (const { origin } of this.workers) this.state.renew(origin)
    this.state.sweep()
    await vi.advanceTimersByTimeAsync(ms)
  }

  /** What each worker does every second, and each client with every heartbeat. */
  async heartbeat(): Promise<void> {
    for (const { replica } of this.workers) void replica.compare(this.state.revision())
    await this.pass(1_000)
    for (const client of this.clients) client.ping()
    await this.pass(0)
  }

  /** What all who watch a prefix must have. */
  truth(prefix: string) {
    const { records } = this.state.snapshot()
    return records.filter(({ key }) => isUnder(prefix, key))
  }

  #startSession(): void {
    const session = `s${++this.#count}`
    this.state.openSession(this.pick(this.workers).origin, { session, subject: 'bot/a', channels: [] })
    this.sessions.push(session)
  }

  #endSession(): void {
    const [session = ''] = this.sessions.splice(Math.floor(this.random() * this.sessions.length), 1)
    this.state.endSession(session, this.pick(['left', 'lost']))
  }
}

class Worker {
  readonly origin: number
  readonly replica: Replica
  readonly watches: Watches
  readonly context: Context

  constructor({ state, metrics }: World) {
    this.origin = state.admit()
    this.replica = new Replica({ log, metrics, history: 20 })
    this.watches = new Watches(this.replica)
    this.context = { metrics, replica: this.replica, watches: this.watches } as unknown as Context
  }
}

/** One client with one watch, and its line, which may be slow, lossy or cut. */
class Client {
  readonly watches: ClientWatches
  readonly watch: ClientWatch
  room = Number.POSITIVE_INFINITY
  readonly #world: World
  #line: { worker: Worker; session: Session } | undefined

  constructor(world: World, prefix: string) {
    this.#world = world
    this.watches = new ClientWatches(
      (frame) => this.#send(frame),
      (error) => {
        throw error
      },
      () => undefined,
    )
    this.watch = this.watches.watch(prefix)
  }

  get connected(): boolean {
    return this.#line !== undefined
  }

  connect(): void {
    this.cut()
    const worker = this.#world.pick(this.#world.workers)
    const session = {
      identified: { rights: { watches: () => true } },
      isClosed: false,
      offer: (frame: HubFrame) => {
        if (this.#line?.session !== (session as unknown as Session)) return true
        if (this.room <= 0) return false
        this.room--
        // A fault of the line, of which neither side hears.
        if (!this.#world.happens(this.#world.faults.frame)) this.#take(frame)
        return true
      },
      send: (frame: HubFrame) => this.#take(frame),
    }
    this.#line = { worker, session: session as unknown as Session }
    this.watches.up(epoch)
  }

  cut(): void {
    if (!this.#line) return
    const { worker, session } = this.#line
    ;(session as unknown as { isClosed: boolean }).isClosed = true
    worker.watches.removeAll(session)
    this.#line = undefined
    this.watches.down()
  }

  drain(): void {
    this.room = Number.POSITIVE_INFINITY
    if (this.#line) this.#line.worker.watches.drained(this.#line.session)
  }

  ping(): void {
    if (this.#line) ping(this.#line.session, { type: 'ping' }, this.#line.worker.context)
  }

  corrupt(): void {
    const entries = this.watch.entries as Map<string, RecordEntry>
    const key = this.#world.pick([...entries.keys()])
    if (key === undefined) return
    if (this.#world.happens(0.5)) entries.delete(key)
    else entries.set(key, { ...entries.get(key)!, revision: 1 })
  }

  #take(frame: HubFrame): void {
    if (frame.type === 'records') this.watches.records(frame)
    else if (frame.type === 'pong' && frame.digests) this.watches.check(frame.digests)
  }

  #send(frame: ClientFrame): boolean {
    if (!this.#line) return false
    const { worker, session } = this.#line
    if (frame.type === 'watch') void watch(session, frame, worker.context)
    else if (frame.type === 'unwatch') unwatch(session, frame, worker.context)
    return true
  }
}

/** Runs one world through its steps, and then without faults until all heartbeats agree. */
async function run(
  seed: number,
  steps: number,
  faults: Faults,
  registry: Registry,
  heartbeats: number,
): Promise<World> {
  const world = new World(seed, { ...faults }, registry)
  await world.begin()
  for (let i = 0; i < steps; i++) await world.step()
  Object.assign(world.faults, { change: 0, frame: 0, memory: 0 })
  await world.pass(1_000)
  for (const client of world.clients) {
    client.drain()
    if (seed % 2 || !client.connected) client.connect()
  }
  for (let i = 0; i < heartbeats; i++) await world.heartbeat()
  return world
}

function diverged(world: World): string[] {
  return world.clients.flatMap(({ watch }) =>
    digestOf(watch.entries.values()) === digestOf(world.truth(watch.prefix)) ? [] : [watch.prefix],
  )
}

it('whatever is written and whatever goes wrong, two heartbeats later all watchers have the same records', async () => {
  let resyncs = 0
  for (let seed = 1; seed <= 30; seed++) {
    const world = await run(seed, 500, { change: 0.02, frame: 0.01, memory: 0.01 }, new Registry(), 2)
    expect({ seed, diverged: diverged(world) }).toEqual({ seed, diverged: [] })
    for (const { watch } of world.clients) {
      resyncs += watch.resyncs
      const values = [...watch.entries.values()].map(({ key, value }) => `${key}=${value}`)
      const truth = world.truth(watch.prefix).map(({ key, value }) => `${key}=${JSON.parse(value.toString())}`)
      expect({ seed, values: values.sort() }).toEqual({ seed, values: truth.sort() })
    }
  }
  // The faults were found by the watchers, not hidden by some later write.
  expect(resyncs).toBeGreaterThan(20)
})

it('without faults nobody ever reads anew, over lines that are slow and cut and workers that are not equally fast', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const world = await run(seed, 500, { change: 0, frame: 0, memory: 0 }, new Registry(), 1)
    expect({ seed, diverged: diverged(world) }).toEqual({ seed, diverged: [] })
    expect({ seed, resyncs: world.clients.map(({ watch }) => watch.resyncs) }).toEqual({
      seed,
      resyncs: world.clients.map(() => 0),
    })
  }
})

it('only heartbeats find what a line swallowed: without them the same faults leave watchers apart', async () => {
  let apart = 0
  for (let seed = 1; seed <= 10; seed++) {
    const world = await run(seed * 2, 250, { change: 0, frame: 0.02, memory: 0.01 }, new Registry(), 0)
    apart += diverged(world).length
  }
  expect(apart).toBeGreaterThan(0)
})
