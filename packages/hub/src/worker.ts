import type { AddressInfo, Server } from 'node:net'
import type { Config } from '@damon/runtime/config'
import type { Logger } from '@damon/runtime/logger'
import { delay } from '@damon/runtime/retry'
import type { Registry } from 'prom-client'
import { Addresses } from './addresses.ts'
import { App, type Backbone } from './app.ts'
import type { Arrive } from './bus.ts'
import { openCluster } from './bus-cluster.ts'
import { type hubConfig, storeTimes } from './config.ts'
import { EventLoop } from './event-loop.ts'
import { Identity } from './identity.ts'
import { contextOptions, createListeners } from './listener.ts'
import { fairMemory, Memory, memoryUse } from './memory.ts'
import { createMetrics } from './metrics.ts'
import { Proxies } from './proxies.ts'
import type { HubCertificate } from './report.ts'
import type { StoreEvents } from './store.ts'
import { turnAway } from './turn-away.ts'

/** A running worker, as its process sees it. */
export interface Worker {
  readonly origin: number
  readonly port: number
  /** False while the store does not answer. */
  readonly reachable: boolean
  readonly sessions: number
  /** Shows this certificate in every handshake from now on; open connections live on. */
  present(certificate: HubCertificate): void
  /** Takes new connections, or leaves them to others; those that it has live on. */
  accept(accepts: boolean): void
  /** Asks so many clients to connect again, within that time. */
  part(order: { count: number; withinMs: number }): void
  /** Another trust list counts, and sessions end whose token it does not accept. Rejects with DamonError `bad_trust_list`. */
  trust(list: string): Promise<void>
  /**
   * Lets go of the port and of the clients, which may take that time to move to one of these hubs; then reads no more, waits until
   * what was accepted is in the log and acknowledged, and hangs up.
   */
  stop(order: { withinMs: number; hubs: readonly string[] }): Promise<void>
}

/** Looks at its memory so often, ms. */
const memoryMs = 1_000

/** Opens the store, takes the port and serves until stopped. `fenced` is called when the worker must end at once. */
export async function startWorker(options: {
  config: Config<typeof hubConfig>
  /** Path of the primary's socket, where there is no Redis. */
  embedded: string | undefined
  log: Logger
  registry: Registry
  /** Told when the store comes or goes. */
  reachable: (ok: boolean) => void
  /** Told of an operator's wish that all workers are replaced, which every worker hears. */
  roll: (wish: string) => void
  fenced: () => void
}): Promise<Worker> {
  const { config, log, registry } = options
  const metrics = createMetrics(registry)
  const identity = await Identity.load({
    root: config.HUB_ROOT_KEY,
    trustList: config.HUB_TRUST.trim(),
    aud: config.HUB_AUDIENCE,
    certificate: config.HUB_TLS_CERT,
    names: config.HUB_NAMES,
  })
  const app = await App.start({
    open: (arrive, events) => openBackbone(options, arrive, events),
    identity,
    settings: {
      heartbeatMs: config.HUB_HEARTBEAT_MS,
      frameBytes: config.HUB_FRAME_BYTES,
      outboxBytes: config.HUB_OUTBOX_BYTES,
      outboxFrames: config.HUB_OUTBOX_FRAMES,
    },
    rates: config.HUB_RATES,
    bus: config.REDIS_URL ? 'redis' : 'cluster',
    log,
    metrics,
    reachable: options.reachable,
    roll: options.roll,
    fenced: options.fenced,
  })
  const memory = new Memory(config.HUB_WORKER_MEMORY ?? fairMemory(config.HUB_WORKERS))
  const lookAtMemory = () => {
    const use = memoryUse()
    if (memory.look(use)) {
      metrics.memoryTight.set(memory.tight ? 1 : 0)
      log.warn({ ...use }, memory.tight ? 'no memory for more sessions' : 'there is memory for sessions again')
    }
    // Those who hold most of it are those who do not take what they are sent.
    if (memory.tight) app.closeSlow()
  }
  lookAtMemory()
  const looks = setInterval(lookAtMemory, memoryMs)
  const { tls, plain, unix } = createListeners({
    cert: config.HUB_TLS_CERT,
    key: config.HUB_TLS_KEY.reveal(),
    frameBytes: config.HUB_FRAME_BYTES,
    origins: config.HUB_ORIGINS,
    proxies: new Proxies(config.HUB_PROXIES),
    addresses: new Addresses({ perSecond: config.HUB_DIALS_PER_SECOND, burst: config.HUB_DIAL_BURST }),
    refused: () => metrics.turnedAway.inc({ reason: 'address' }),
    connect: (connection) => {
      if (!memory.tight) return app.connect(connection)
      metrics.turnedAway.inc({ reason: 'memory' })
      turnAway(connection)
    },
  })
  const loop = new EventLoop()
  loop.register(registry, `w${app.origin}`)
  const doors: Door[] = [{ server: tls, at: { port: config.HUB_PORT, host: config.HUB_HOST } }]
  if (config.HUB_PLAIN_PORT !== undefined)
    doors.push({ server: plain, at: { port: config.HUB_PLAIN_PORT, host: '127.0.0.1' } })
  if (config.HUB_PLAIN_SOCKET !== undefined) doors.push({ server: unix, at: { path: config.HUB_PLAIN_SOCKET } })
  const [port = 0] = await Promise.all(doors.map(({ server, at }) => listen(server, at)))
  return {
    origin: app.origin,
    port,
    get reachable() {
      return app.reachable
    },
    get sessions() {
      return app.sessions
    },
    present({ key, chain }) {
      tls.setSecureContext({ ...contextOptions, key, cert: chain })
      identity.answerTo(chain)
    },
    accept(accepts) {
      for (const { server, at } of doors) {
        // Off the port altogether: the primary would offer every connection again and again to one that refuses it.
        if (!accepts) server.close()
        else if (!server.listening) server.listen(at)
      }
    },
    part: (order) => app.part(order),
    trust: (list) => app.trust(list),
    async stop(order) {
      for (const { server } of doors) server.close()
      await app.leave(order)
      await app.stop()
      clearInterval(looks)
      loop.stop()
    },
  }
}

/** Where connections come in. */
interface Door {
  server: Server
  at: { port?: number; host?: string | undefined; path?: string }
}

/** Returns the port, 0 for a Unix socket. */
async function listen(server: Server, where: Door['at']): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(where, resolve)
  })
  const address = server.address() as AddressInfo | string
  return typeof address === 'string' ? 0 : address.port
}

async function openBackbone(
  options: Parameters<typeof startWorker>[0],
  arrive: Arrive,
  events: StoreEvents,
): Promise<Backbone> {
  const { config, embedded, log } = options
  if (embedded !== undefined) return openCluster(embedded, arrive, events)
  // Whoever has no Redis need not load its client.
  const { openRedis } = await import('./bus-redis.ts')
  for (let attempt = 1; ; attempt++) {
    try {
      return await openRedis(
        { url: config.REDIS_URL?.reveal() ?? '', prefix: config.REDIS_PREFIX, times: storeTimes(config) },
        arrive,
        events,
      )
    } catch (error) {
      log.warn({ err: error, attempt }, 'Redis does not answer, trying again')
      await delay(Math.min(100 * 2 ** attempt, 2_000))
    }
  }
}
