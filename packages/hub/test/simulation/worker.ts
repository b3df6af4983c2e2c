import { createLogger } from '@damon/runtime/logger'
import { parseCapabilities } from '@damon/trust/capabilities'
import { readToken } from '@damon/trust/token'
import { Registry } from 'prom-client'
import { Addresses } from '../../src/addresses.ts'
import { App, type AppOptions, type Backbone } from '../../src/app.ts'
import type { Bus } from '../../src/bus.ts'
import type { Identity } from '../../src/identity.ts'
import { createListeners } from '../../src/listener.ts'
import { createMetrics } from '../../src/metrics.ts'
import { Proxies } from '../../src/proxies.ts'
import type { Line } from './line.ts'
import { Lines } from './lines.ts'

export const log = createLogger({ service: 'simulation', level: process.env.SIMULATION_LOG ?? 'silent' })
const rights = parseCapabilities(['join:*', 'send:*', 'ask:*', 'get:*', 'put:thing/*'], 'bot/any')

/** Everybody is who they say they are. */
const identity = {
  hello: async (token: string) => {
    const { sub, jti } = readToken(token)
    return { subject: sub, rights, expires: Number.MAX_SAFE_INTEGER, jti, rate: undefined, key: sub }
  },
} as unknown as Identity

/** Each is a chance per event, or ms. */
export interface Weather {
  /** Most that a parcel takes from a client to a worker, ms. */
  clientMs: number
  /** From a worker to its primary, or to Redis. */
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

/** What the simulation adds to how a worker opens its backbone. */
export interface WorkerOptions {
  bus: AppOptions['bus']
  /** Lays its lines to the store, which it adds to the worker's. */
  open: (lines: Lines, ...rest: Parameters<AppOptions['open']>) => Promise<Backbone>
  weather: Weather
  /** It has ended of its own accord, or could not begin. */
  died: () => void
}

/** One worker of the simulated hub. */
export class Worker {
  readonly #clients = new Lines()
  readonly #store = new Lines()
  readonly #door
  #app: App | undefined
  #dead = false

  constructor({ bus, open, weather, died }: WorkerOptions) {
    this.#door = createListeners({
      ...{ cert: '', key: '', frameBytes: 65_536, origins: [] },
      proxies: new Proxies([]),
      addresses: new Addresses({ perSecond: 1_000_000, burst: 1_000_000 }),
      refused: () => undefined,
      connect: (connection) => this.#app?.connect(connection),
    }).plain
    const die = () => {
      if (this.#dead) return
      this.kill()
      died()
    }
    App.start({
      open: async (arrive, events) => {
        const backbone = await open(this.#store, arrive, events)
        return { ...backbone, bus: { ...backbone.bus, ...breaches(backbone.bus, weather) } }
      },
      identity,
      settings: { heartbeatMs: 2_000, frameBytes: 65_536, outboxBytes: 262_144, outboxFrames: weather.outboxFrames },
      rates: new Map(),
      bus,
      log,
      metrics: createMetrics(new Registry()),
      reachable: () => undefined,
      fenced: die,
    }).then((app) => {
      this.#app = app
      // Its connections are its own: it must not come back over others.
      if (this.#dead) void app.stop().catch(() => undefined)
    }, die)
  }

  get serves(): boolean {
    return this.#app !== undefined && !this.#dead
  }

  get origin(): number | undefined {
    return this.#app?.origin
  }

  /** A line to this worker. */
  accept(line: Line): void {
    this.#clients.add(line)
    this.#door.emit('connection', line.far)
  }

  /** Its lines to clients. */
  get lines(): readonly Line[] {
    return this.#clients.all
  }

  /** Its lines to the store. */
  get storeLines(): readonly Line[] {
    return this.#store.all
  }

  /** It moves no more, and nobody is told. */
  freeze(): void {
    this.#store.hang()
    this.#clients.hang()
  }

  thaw(): void {
    this.#store.move()
    this.#clients.move()
  }

  /** As by SIGKILL: what it has not written is gone. */
  kill(): void {
    if (this.#dead) return
    this.#dead = true
    this.#store.end()
    this.#clients.end()
    void this.#app?.stop().catch(() => undefined)
  }
}
