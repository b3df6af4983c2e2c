import type { AddressInfo, Server } from 'node:net'
import { limits } from '@damon/protocol/limits'
import type { Config } from '@damon/runtime/config'
import type { Logger } from '@damon/runtime/logger'
import { delay } from '@damon/runtime/retry'
import type { Registry } from 'prom-client'
import { Addresses } from './addresses.ts'
import type { Arrive, Bus } from './bus.ts'
import { openCluster } from './bus-cluster.ts'
import { openRedis } from './bus-redis.ts'
import { type hubConfig, storeTimes } from './config.ts'
import type { Context } from './context.ts'
import { Delivery } from './delivery.ts'
import { Departures } from './departures.ts'
import { Desk } from './desk.ts'
import { dispatch } from './dispatch.ts'
import { EventLoop } from './event-loop.ts'
import { Identity } from './identity.ts'
import { Turns } from './intake.ts'
import { Lease } from './lease.ts'
import { contextOptions, createListeners } from './listener.ts'
import { fairMemory, Memory, memoryUse } from './memory.ts'
import { createMetrics } from './metrics.ts'
import { Flusher } from './outbox.ts'
import { Proxies } from './proxies.ts'
import { Publisher } from './publisher.ts'
import { Rates } from './rates.ts'
import { Acks } from './receipts.ts'
import { Replica } from './replica.ts'
import type { HubCertificate } from './report.ts'
import { Requests } from './requests.ts'
import { Restraint } from './restraint.ts'
import { Session } from './session.ts'
import { Settlements } from './settlements.ts'
import { type Store, type StoreEvents, sweepMs } from './store.ts'
import { Tick } from './tick.ts'
import { turnAway } from './turn-away.ts'
import { Watches } from './watches.ts'

/** A running worker, as its process sees it. */
export interface Worker {
  readonly origin: number
  readonly port: number
  /** False while the store does not answer. */
  readonly reachable: boolean
  readonly sessions: number
  /** Shows this certificate in every handshake from now on; open connections live on. */
  present(certificate: HubCertificate): void
  /** Reads no more, waits until what was accepted is in the log and acknowledged, hangs up, and lets go of the port. */
  stop(): Promise<void>
}

/** How long accepted frames may take into the log when the worker stops, ms. */
const lastAppendMs = 1_000

/** Looks at its memory so often, ms. */
const memoryMs = 1_000

/** Looks at each session's life this many times a heartbeat. */
const checksPerHeartbeat = 16

/** Opens the store, takes the port and serves until stopped. `fenced` is called when the worker must end at once. */
export async function startWorker(options: {
  config: Config<typeof hubConfig>
  /** Path of the primary's socket, where there is no Redis. */
  embedded: string | undefined
  log: Logger
  registry: Registry
  /** Told when the store comes or goes. */
  reachable: (ok: boolean) => void
  fenced: () => void
}): Promise<Worker> {
  const { config, log, registry, fenced } = options
  const metrics = createMetrics(registry)
  const identity = await Identity.load({
    root: config.HUB_ROOT_KEY,
    trustList: config.HUB_TRUST.trim(),
    aud: config.HUB_AUDIENCE,
    certificate: config.HUB_TLS_CERT,
    names: config.HUB_NAMES,
  })
  const replica = new Replica({ log, metrics })
  const lease = new Lease({
    log,
    fenced,
    changed: (reachable) => {
      metrics.storeReachable.set(reachable ? 1 : 0)
      if (reachable) replica.resync()
      options.reachable(reachable)
    },
  })
  const garbled = (channel: string, error: unknown) => {
    metrics.garbled.inc()
    log.error({ err: error, channel }, 'what the bus brought cannot be read')
  }
  // What the store tells before everything is built concerns nobody.
  let built: { delivery: Delivery; publisher: Publisher; requests: Requests } | undefined
  const backbone = await openBackbone(options, (batch, stamp) => built?.delivery.arrive(batch, stamp), {
    change: (change) => replica.take(change),
    gone: (sessions) => built?.requests.gone(sessions),
    over: (sessions) => {
      for (const session of sessions) built?.publisher.forget(`session/${session}`)
    },
    release: () => undefined,
    ended: (origin) => void built?.delivery.ended(origin),
    tails: (tails) => built?.delivery.behind(tails),
    connected: (ok) => {
      lease.connected(ok)
      if (ok) built?.delivery.audit()
    },
    garbled: (error) => garbled('store', error),
    cutOff: fenced,
  })
  const { bus, store } = backbone
  const delivery = new Delivery({
    bus,
    metrics,
    faults: {
      hole: (hole) => log.debug(hole, 'frames of another worker did not arrive: they are read from its log'),
      gap: (gap) => log.warn(gap, 'frames of another worker are missing and cannot be had: their receivers are told'),
      garbled,
    },
  })
  const tick = new Tick()
  const publisher = new Publisher({ bus, members: delivery, tick, metrics, fenced })
  const requests = new Requests({ publisher, settlements: new Settlements(store), metrics })
  const departures = new Departures(store, log)
  built = { delivery, publisher, requests }
  await lease.start(store)
  await replica.start(store)

  const context: Context = {
    log,
    metrics,
    identity,
    store,
    publisher,
    delivery,
    replica,
    watches: new Watches(replica),
    requests,
    flusher: new Flusher(tick),
    acks: new Acks(),
    turns: new Turns(tick),
    rates: new Rates(config.HUB_RATES),
    restraint: new Restraint(),
    settings: {
      heartbeatMs: config.HUB_HEARTBEAT_MS,
      helloMs: limits.helloMs,
      frameBytes: config.HUB_FRAME_BYTES,
      outboxBytes: config.HUB_OUTBOX_BYTES,
      outboxFrames: config.HUB_OUTBOX_FRAMES,
    },
  }
  const sessions = new Set<Session>()
  const began = performance.now()
  const desk = new Desk(context, () => ({
    worker: `w${bus.origin}`,
    origin: bus.origin,
    pid: process.pid,
    sessions: sessions.size,
    uptimeMs: Math.round(performance.now() - began),
    bus: config.REDIS_URL ? 'redis' : 'cluster',
    reachable: lease.reachable,
    records: replica.size,
    openRequests: requests.size,
  }))
  await desk.open()

  const ended = (session: Session) => {
    sessions.delete(session)
    metrics.sessions.set(sessions.size)
    if (!session.registered) return
    log.info({ session: session.id, sub: session.subject, how: session.departure }, 'disconnected')
    departures.add(session.id, session.departure)
  }
  const memory = new Memory(config.HUB_WORKER_MEMORY ?? fairMemory(config.HUB_WORKERS))
  const lookAtMemory = () => {
    const use = memoryUse()
    if (memory.look(use)) {
      metrics.memoryTight.set(memory.tight ? 1 : 0)
      log.warn({ ...use }, memory.tight ? 'no memory for more sessions' : 'there is memory for sessions again')
    }
    if (!memory.tight) return
    // Those who hold most of it are those who do not take what they are sent.
    for (const session of [...sessions]) if (session.isSlow) session.close('slow_consumer')
  }
  lookAtMemory()
  const { tls, plain, unix } = createListeners({
    cert: config.HUB_TLS_CERT,
    key: config.HUB_TLS_KEY.reveal(),
    frameBytes: config.HUB_FRAME_BYTES,
    origins: config.HUB_ORIGINS,
    proxies: new Proxies(config.HUB_PROXIES),
    addresses: new Addresses({ perSecond: config.HUB_DIALS_PER_SECOND, burst: config.HUB_DIAL_BURST }),
    refused: () => metrics.turnedAway.inc({ reason: 'address' }),
    connect: (connection) => {
      if (memory.tight) {
        metrics.turnedAway.inc({ reason: 'memory' })
        turnAway(connection)
        return
      }
      sessions.add(
        new Session({ ...connection, context, dispatch: (session, frame) => dispatch(session, frame, context), ended }),
      )
      metrics.sessions.set(sessions.size)
    },
  })
  const loop = new EventLoop()
  loop.register(registry, `w${bus.origin}`)
  const port = await listen(tls, { port: config.HUB_PORT, host: config.HUB_HOST })
  if (config.HUB_PLAIN_PORT !== undefined) await listen(plain, { port: config.HUB_PLAIN_PORT, host: '127.0.0.1' })
  if (config.HUB_PLAIN_SOCKET !== undefined) await listen(unix, { path: config.HUB_PLAIN_SOCKET })

  const tickMs = config.HUB_HEARTBEAT_MS / checksPerHeartbeat
  const checks = setInterval(() => {
    const now = performance.now()
    for (const session of sessions) session.check(now, tickMs)
  }, tickMs)
  const looks = setInterval(lookAtMemory, memoryMs)
  const compareRecords = setInterval(() => {
    store.revision().then(
      (revision) => replica.compare(revision),
      () => undefined,
    )
  }, sweepMs)
  const lookForGone = setInterval(() => {
    // What a lost word about ended sessions would leave open.
    store.absent(context.requests.awaited()).then(
      (absent) => context.requests.gone(absent),
      () => undefined,
    )
  }, config.HUB_HEARTBEAT_MS)

  return {
    origin: bus.origin,
    port,
    get reachable() {
      return lease.reachable
    },
    get sessions() {
      return sessions.size
    },
    present({ key, chain }) {
      tls.setSecureContext({ ...contextOptions, key, cert: chain })
      identity.answerTo(chain)
    },
    async stop() {
      for (const server of [tls, plain, unix]) server.close()
      for (const session of sessions) session.quiet()
      const deadline = performance.now() + lastAppendMs
      while (publisher.waiting > 0 && performance.now() < deadline) await delay(5)
      for (const session of [...sessions]) session.close('restarting')
      for (const timer of [checks, looks, compareRecords, lookForGone]) clearInterval(timer)
      loop.stop()
      lease.stop()
      replica.stop()
      departures.stop()
      delivery.stop()
      await backbone[Symbol.asyncDispose]()
    },
  }
}

/** Returns the port, 0 for a Unix socket. */
async function listen(
  server: Server,
  where: { port?: number; host?: string | undefined; path?: string },
): Promise<number> {
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
): Promise<AsyncDisposable & { bus: Bus; store: Store }> {
  const { config, embedded, log } = options
  if (embedded !== undefined) return openCluster(embedded, arrive, events)
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
