import type { AddressInfo } from 'node:net'
import { limits } from '@damon/protocol/limits'
import type { Config } from '@damon/runtime/config'
import type { Logger } from '@damon/runtime/logger'
import { delay } from '@damon/runtime/retry'
import type { Registry } from 'prom-client'
import type { Arrive, Bus } from './bus.ts'
import { openCluster } from './bus-cluster.ts'
import { openRedis } from './bus-redis.ts'
import type { hubConfig } from './config.ts'
import type { Context } from './context.ts'
import { Delivery } from './delivery.ts'
import { Desk } from './desk.ts'
import { Identity } from './identity.ts'
import { createListener } from './listener.ts'
import { createMetrics } from './metrics.ts'
import { Flusher } from './outbox.ts'
import { Publisher } from './publisher.ts'
import { Replica } from './replica.ts'
import { Requests } from './requests.ts'
import { Session } from './session.ts'
import type { Store, StoreEvents } from './store.ts'
import { workerLeaseMs } from './store.ts'
import { Watches } from './watches.ts'

/** A running worker, as its process sees it. */
export interface Worker {
  readonly origin: number
  readonly port: number
  /** False while the store does not answer. */
  readonly reachable: boolean
  readonly sessions: number
  /** Hangs up on everybody, waits until what was accepted is in the log, and lets go of the port. */
  stop(): Promise<void>
}

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
  let reachable = false
  let arrive: Arrive = () => undefined
  let requests: Requests | undefined
  const events: StoreEvents = {
    change: (change) => replica.take(change),
    gone: (sessions) => {
      requests?.gone(sessions)
      for (const session of sessions) publisher?.forget(`session/${session}`)
    },
    reachable: (ok) => {
      if (ok === reachable) return
      reachable = ok
      metrics.storeReachable.set(ok ? 1 : 0)
      log[ok ? 'info' : 'warn'](ok ? 'the store answers' : 'the store does not answer')
      if (ok) replica.resync()
      options.reachable(ok)
    },
  }
  let publisher: Publisher | undefined
  const backbone = await openBackbone(options, (batch, stamp) => arrive(batch, stamp), events)
  const { bus, store } = backbone
  publisher = new Publisher({ bus, metrics, fenced })
  const delivery = new Delivery({
    bus,
    metrics,
    gap: (gap) => log.warn(gap, 'frames of another worker are missing and cannot be had: their receivers are told'),
  })
  arrive = (batch, stamp) => delivery.arrive(batch, stamp)
  requests = new Requests({ publisher, metrics })
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
    flusher: new Flusher(),
    settings: {
      heartbeatMs: config.HUB_HEARTBEAT_MS,
      helloMs: limits.helloMs,
      frameBytes: config.HUB_FRAME_BYTES,
      outboxBytes: config.HUB_OUTBOX_BYTES,
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
    reachable,
    records: replica.size,
    openRequests: requests?.size ?? 0,
  }))
  await desk.open()

  const ended = (session: Session) => {
    sessions.delete(session)
    metrics.sessions.set(sessions.size)
    if (!session.registered) return
    log.info({ session: session.id, sub: session.subject, how: session.departure }, 'disconnected')
    endInStore(store, session, log)
  }
  const server = createListener({
    cert: config.HUB_TLS_CERT,
    key: config.HUB_TLS_KEY.reveal(),
    frameBytes: config.HUB_FRAME_BYTES,
    origins: config.HUB_ORIGINS,
    connect: (connection) => {
      sessions.add(new Session({ ...connection, context, ended }))
      metrics.sessions.set(sessions.size)
    },
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port: config.HUB_PORT, host: config.HUB_HOST }, resolve)
  })
  const { port } = server.address() as AddressInfo

  const tickMs = config.HUB_HEARTBEAT_MS / checksPerHeartbeat
  const checks = setInterval(() => {
    const now = performance.now()
    for (const session of sessions) session.check(now, tickMs)
  }, tickMs)
  const lookForGone = setInterval(() => {
    // What a lost word about ended sessions would leave open.
    store.absent(context.requests.awaited()).then(
      (absent) => context.requests.gone(absent),
      () => undefined,
    )
  }, config.HUB_HEARTBEAT_MS)
  const lease = setInterval(() => keepLease(store, fenced, log), workerLeaseMs / 5)

  return {
    origin: bus.origin,
    port,
    get reachable() {
      return reachable
    },
    get sessions() {
      return sessions.size
    },
    async stop() {
      server.close()
      for (const session of [...sessions]) session.close('restarting')
      for (const timer of [checks, lookForGone, lease]) clearInterval(timer)
      replica.stop()
      const deadline = performance.now() + 1_000
      while ((publisher?.waiting ?? 0) > 0 && performance.now() < deadline) await delay(5)
      await backbone[Symbol.asyncDispose]()
    },
  }
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
        { url: config.REDIS_URL?.reveal() ?? '', prefix: config.REDIS_PREFIX, graceMs: config.HUB_LEASE_GRACE_MS },
        arrive,
        events,
      )
    } catch (error) {
      log.warn({ err: error, attempt }, 'Redis does not answer, trying again')
      await delay(Math.min(100 * 2 ** attempt, 2_000))
    }
  }
}

/** Sessions that end while the store is away are ended by the worker's lease at the latest. */
function endInStore(store: Store, session: Session, log: Logger): void {
  store.endSession(session.id, session.departure).catch((error) => {
    log.warn({ err: error, session: session.id }, 'the end of a session is not in the store yet')
    setTimeout(() => endInStore(store, session, log), 1_000).unref()
  })
}

function keepLease(store: Store, fenced: () => void, log: Logger): void {
  store.renew().then(
    (held) => {
      if (!held) fenced()
    },
    () => undefined,
  )
  store.sweep().catch((error) => log.debug({ err: error }, 'the store was not swept'))
}
