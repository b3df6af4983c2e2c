import { createLogger } from '@damon/runtime/logger'
import type { Random } from '@damon/testkit/random'
import { parseCapabilities } from '@damon/trust/capabilities'
import { readToken } from '@damon/trust/token'
import { Registry } from 'prom-client'
import { Addresses } from '../../src/addresses.ts'
import { App, type AppOptions } from '../../src/app.ts'
import type { Arrive, Batch, Bus } from '../../src/bus.ts'
import { joinCluster } from '../../src/bus-cluster.ts'
import { EmbeddedHost } from '../../src/embedded/host.ts'
import { openKept } from '../../src/embedded/kept.ts'
import type { Identity } from '../../src/identity.ts'
import { createListeners } from '../../src/listener.ts'
import { createMetrics } from '../../src/metrics.ts'
import { Proxies } from '../../src/proxies.ts'
import type { StoreTimes } from '../../src/store.ts'
import { Line } from './line.ts'

const log = createLogger({ service: 'simulation', level: process.env.SIMULATION_LOG ?? 'silent' })
const rights = parseCapabilities(['join:*', 'send:*', 'ask:*', 'get:*', 'put:thing/*'], 'bot/any')

/** Everybody is who they say they are. */
const identity = {
  hello: async (token: string) => {
    const { sub, jti } = readToken(token)
    return { subject: sub, rights, expires: Number.MAX_SAFE_INTEGER, jti, rate: undefined, key: sub }
  },
} as unknown as Identity

const auditMs = 1_000

/** Each is a chance per event, or ms. */
export interface Weather {
  /** Most that a parcel takes from a client to a worker, ms. */
  clientMs: number
  /** From a worker to its primary. */
  busMs: number
  /** What a line to a client holds, bytes. */
  kernelBytes: number
  /** What a session's outbox holds, frames. */
  outboxFrames: number
  /** That a batch vanishes on its way to a worker, though its line lives. */
  batchLoss: number
  /** Most that batches come later than what the store says, ms: against the promise of the bus. */
  batchLag: number
  /** Whether appends are confirmed before the log has them: against it, too. */
  hasty: boolean
  /** Whether holes are left as they are: nothing is read from logs, and nobody is told. */
  careless: boolean
}

/** A bus that does not do all that it must. */
function breaches(bus: Bus, { hasty, careless }: Weather): Partial<Bus> {
  return {
    ...(hasty && {
      append: async (batches, freeze) => {
        const appended = bus.append(batches, freeze)
        if (freeze.length > 0) return appended
        appended.catch(() => undefined)
        return []
      },
    }),
    ...(careless && { read: async () => ({ batches: [], missing: [] }) }),
  }
}

/** One worker of the simulated hub. */
class Worker {
  readonly #lines = new Set<Line>()
  readonly #bus: Line
  readonly #metrics = createMetrics(new Registry())
  readonly #door
  #app: App | undefined
  #audits: NodeJS.Timeout | undefined
  #dead = false

  constructor(options: { host: EmbeddedHost; times: StoreTimes; random: Random; weather: Weather; died: () => void }) {
    const { host, random, weather } = options
    this.#bus = new Line(() => random.next() * weather.busMs)
    host.take(this.#bus.far)
    const lost = (batch: Batch) => batch.kind === 'message' && random.next() < weather.batchLoss
    let latest = 0
    const lagging = (arrive: Arrive): Arrive => {
      if (weather.batchLag === 0) return arrive
      return (batch, stamp) => {
        latest = Math.max(latest, performance.now() + random.next() * weather.batchLag)
        setTimeout(() => arrive(batch, stamp), latest - performance.now())
      }
    }
    const open: AppOptions['open'] = async (arrive, events) => {
      const take = lagging((batch, stamp) => (lost(batch) ? undefined : arrive(batch, stamp)))
      const backbone = await joinCluster(this.#bus.near, take, events)
      // What a bus that loses batches has to do for the last ones.
      if (weather.batchLoss > 0) this.#audits = setInterval(() => events.connected(true), auditMs)
      return { ...backbone, bus: { ...backbone.bus, ...breaches(backbone.bus, weather) } }
    }
    this.#door = createListeners({
      ...{ cert: '', key: '', frameBytes: 65_536, origins: [] },
      proxies: new Proxies([]),
      addresses: new Addresses({ perSecond: 1_000_000, burst: 1_000_000 }),
      refused: () => undefined,
      connect: (connection) => this.#app?.connect(connection),
    }).plain
    const die = () => {
      this.kill()
      options.died()
    }
    App.start({
      open,
      identity,
      settings: { heartbeatMs: 2_000, frameBytes: 65_536, outboxBytes: 262_144, outboxFrames: weather.outboxFrames },
      rates: new Map(),
      bus: 'cluster',
      log,
      metrics: this.#metrics,
      reachable: () => undefined,
      fenced: die,
    }).then(
      (app) => {
        this.#app = app
      },
      () => (this.#dead ? undefined : die()),
    )
  }

  get serves(): boolean {
    return this.#app !== undefined && !this.#dead
  }

  /** A line to this worker. */
  accept(line: Line): void {
    this.#lines.add(line)
    line.far.on('close', () => this.#lines.delete(line))
    this.#door.emit('connection', line.far)
  }

  /** What it missed of the bus. */
  async holes(): Promise<number> {
    const { values } = await this.#metrics.holes.get()
    return values.reduce((total, { value, labels }) => total + (labels.result === 'found' ? value : 0), 0)
  }

  get lines(): readonly Line[] {
    return [...this.#lines]
  }

  /** It moves no more, and nobody is told. */
  freeze(): void {
    for (const line of [this.#bus, ...this.#lines]) line.hang()
  }

  thaw(): void {
    for (const line of [this.#bus, ...this.#lines]) line.move()
  }

  /** As by SIGKILL: what it has not written is gone. */
  kill(): void {
    if (this.#dead) return
    this.#dead = true
    clearInterval(this.#audits)
    this.#bus.cut()
    for (const line of this.#lines) line.cut()
    void this.#app?.stop().catch(() => undefined)
  }
}

/** A hub of several workers on one machine, with the real code of all of them. */
export class Machine {
  #host: EmbeddedHost
  readonly #random: Random
  readonly #weather: Weather
  readonly #times: StoreTimes
  readonly #count: number
  #workers: Worker[] = []
  /** Those that are dead too. */
  readonly #all: Worker[] = []
  #shutUntil = 0

  constructor(options: { workers: number; times: StoreTimes; random: Random; weather: Weather }) {
    this.#times = options.times
    this.#random = options.random
    this.#weather = options.weather
    this.#count = options.workers
    this.#host = this.#newHost()
    for (let i = 0; i < options.workers; i++) this.#begin()
  }

  /** A line to any of its workers, as the shared port gives them out; none while none serves. */
  dial(): Line | undefined {
    const serving = performance.now() < this.#shutUntil ? [] : this.#workers.filter((worker) => worker.serves)
    if (serving.length === 0) return undefined
    const line = new Line(() => this.#random.next() * this.#weather.clientMs, this.#weather.kernelBytes)
    this.#random.pick(serving).accept(line)
    return line
  }

  get workers(): readonly Worker[] {
    return this.#workers.filter((worker) => worker.serves)
  }

  /** What its workers missed of the bus, and looked for. */
  async holes(): Promise<number> {
    let total = 0
    for (const worker of this.#all) total += await worker.holes()
    return total
  }

  /** Nobody gets a line for so long, ms. */
  shut(ms: number): void {
    this.#shutUntil = performance.now() + ms
  }

  /** Ends one as by SIGKILL; another one takes its place. */
  kill(worker: Worker): void {
    worker.kill()
    this.#replace(worker)
  }

  /** The primary dies, and all workers with it; what it had in memory is gone. */
  collapse(): void {
    for (const worker of this.#workers) worker.kill()
    this.#workers = []
    this.#host[Symbol.dispose]()
    this.#host = this.#newHost()
    for (let i = 0; i < this.#count; i++) setTimeout(() => this.#begin(), 500)
  }

  close(): void {
    for (const worker of this.#workers) worker.kill()
    this.#host[Symbol.dispose]()
  }

  #newHost(): EmbeddedHost {
    return new EmbeddedHost({ kept: openKept(':memory:'), times: this.#times, log })
  }

  #replace(worker: Worker): void {
    this.#workers = this.#workers.filter((one) => one !== worker)
    setTimeout(() => this.#begin(), 300)
  }

  #begin(): void {
    if (this.#workers.length >= this.#count) return
    const worker: Worker = new Worker({
      host: this.#host,
      times: this.#times,
      random: this.#random,
      weather: this.#weather,
      died: () => this.#replace(worker),
    })
    this.#workers.push(worker)
    this.#all.push(worker)
  }
}
