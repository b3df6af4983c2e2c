import cluster, { type Worker as Child } from 'node:cluster'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import type { ServiceContext, Started } from '@damon/runtime/service'
import { AggregatorRegistry, Counter, Gauge, Registry } from 'prom-client'
import { endRedisWorker } from './bus-redis.ts'
import type { hubConfig } from './config.ts'
import { openKept } from './embedded/kept.ts'
import { serveEmbedded } from './embedded/server.ts'
import { Identity } from './identity.ts'
import { ScriptedRedis } from './redis/client.ts'
import type { WorkerReport } from './report.ts'

/** A worker that died sooner than this after its start is replaced with growing delay. */
const youngMs = 2_000
const longestDelayMs = 5_000

interface Running {
  child: Child
  since: number
  origin: number | undefined
  reachable: boolean
}

/** Keeps the workers running: starts them, replaces those that die, tells the store of the dead, stops them. */
export async function startPrimary(context: ServiceContext<typeof hubConfig>): Promise<Started> {
  const { config, log, checks, resources, stopping } = context
  const identity = await Identity.load({
    root: config.HUB_ROOT_KEY,
    trustList: config.HUB_TRUST.trim(),
    aud: config.HUB_AUDIENCE,
    certificate: config.HUB_TLS_CERT,
    names: config.HUB_NAMES,
  })
  if (identity.dev && !config.ALLOW_DEV_KEYS)
    throw new Error('The trust list is for development. Make keys with `damon keys init`, or set ALLOW_DEV_KEYS=1.')

  const backbone = config.REDIS_URL ? await redisMorgue(context) : await embeddedMorgue(context)
  const metrics = createPrimaryMetrics()
  const running = new Map<number, Running>()
  const port = config.HUB_PORT === 0 ? await freePort(config.HUB_HOST) : config.HUB_PORT
  const env = { HUB_PORT: String(port), ...(backbone.path && { HUB_INTERNAL_SOCKET: backbone.path }) }
  let early = 0
  let stopped = false

  const fork = () => {
    const child = cluster.fork(env)
    const entry: Running = { child, since: performance.now(), origin: undefined, reachable: false }
    running.set(child.id, entry)
    child.on('error', (error) => log.warn({ err: error, worker: child.id }, 'the line to a worker broke'))
    child.on('message', (report: WorkerReport) => {
      if (report.kind !== 'up' && report.kind !== 'reachable') return
      if (report.kind === 'up') {
        entry.origin = report.origin
        early = 0
      }
      entry.reachable = report.reachable
      metrics.workers.set([...running.values()].filter(({ origin }) => origin !== undefined).length)
    })
    child.on('exit', (code, signal) => {
      running.delete(child.id)
      metrics.workers.set(running.size)
      if (entry.origin !== undefined) backbone.bury(entry.origin)
      if (stopped) return
      metrics.exits.inc({ signal: signal ?? 'none' })
      const young = performance.now() - entry.since < youngMs && entry.origin === undefined
      early = young ? early + 1 : 0
      const delayMs = early === 0 ? 0 : Math.min(100 * 2 ** early, longestDelayMs)
      log.error({ worker: child.id, pid: child.process.pid, code, signal, delayMs }, 'a worker died and is replaced')
      setTimeout(() => stopped || fork(), delayMs)
    })
    return child
  }

  checks.set('workers', () => {
    const up = [...running.values()].filter(({ origin }) => origin !== undefined)
    return up.length > 0 ? undefined : 'no worker serves'
  })
  checks.set('store', () => {
    const away = [...running.values()].filter(({ origin, reachable }) => origin !== undefined && !reachable)
    return away.length === 0 ? undefined : `${away.length} of ${running.size} workers do not reach the store`
  })

  cluster.setupPrimary({ args: [], serialization: 'advanced' })
  resources.defer(async () => {
    stopped = true
    await stopAll(
      [...running.values()].map(({ child }) => child),
      config.SHUTDOWN_MS - 1_000,
    )
  })
  const up = Array.from({ length: config.HUB_WORKERS }, () => firstUp(fork(), stopping))
  await Promise.all(up)
  return {
    addresses: {
      url: `wss://localhost:${port}`,
      workers: String(config.HUB_WORKERS),
      bus: config.REDIS_URL ? 'redis' : 'cluster',
    },
    metrics: metrics.text,
  }
}

/** Where the dead are told of, so that their sessions end at once. */
interface Morgue {
  /** The embedded store's socket. */
  path?: string
  bury(origin: number): void
}

async function embeddedMorgue({ config, log, resources }: ServiceContext<typeof hubConfig>): Promise<Morgue> {
  if (config.HUB_STATE_DIR) await mkdir(config.HUB_STATE_DIR, { recursive: true, mode: 0o700 })
  const kept = openKept(config.HUB_STATE_DIR ? join(config.HUB_STATE_DIR, 'records.sqlite') : ':memory:')
  const server = await serveEmbedded({ kept, graceMs: config.HUB_LEASE_GRACE_MS, log })
  resources.use(server)
  return { path: server.path, bury: (origin) => server.endWorker(origin) }
}

async function redisMorgue({ config, log, resources }: ServiceContext<typeof hubConfig>): Promise<Morgue> {
  const url = config.REDIS_URL?.reveal() ?? ''
  const control = new ScriptedRedis(url, 'damon-hub-primary')
  resources.defer(() => control.redis.disconnect())
  control.redis.connect().catch(() => undefined)
  const options = { url, prefix: config.REDIS_PREFIX, graceMs: config.HUB_LEASE_GRACE_MS }
  return {
    bury: (origin) => {
      endRedisWorker(control, options, origin).catch((error) =>
        log.warn({ err: error, origin }, 'Redis was not told of a dead worker; its lease will end'),
      )
    },
  }
}

function createPrimaryMetrics() {
  const registry = new Registry()
  const registers = [registry]
  const aggregator = new AggregatorRegistry()
  return {
    workers: new Gauge({ name: 'damon_hub_workers', help: 'Workers that serve', registers }),
    exits: new Counter({
      name: 'damon_hub_worker_exits_total',
      help: 'Workers that died',
      labelNames: ['signal'],
      registers,
    }),
    text: async () => `${await aggregator.clusterMetrics()}\n${await registry.metrics()}`,
  }
}

/** Resolves when the worker serves, rejects when it ends before that or the hub shall stop. */
async function firstUp(child: Child, stopping: AbortSignal): Promise<void> {
  const signal = AbortSignal.any([stopping])
  for (;;) {
    const [report] = (await Promise.race([
      once(child, 'message', { signal }),
      once(child, 'exit', { signal }).then(() => {
        throw new Error('A worker ended before it served. Its log says why.')
      }),
    ])) as [WorkerReport]
    if (report.kind === 'up') return
  }
}

async function stopAll(children: Child[], withinMs: number): Promise<void> {
  const exits = children
    .filter((child) => !child.isDead())
    .map((child) => {
      const exited = once(child, 'exit')
      if (child.isConnected()) child.send({ kind: 'stop' })
      const timer = setTimeout(() => child.process.kill('SIGKILL'), Math.max(withinMs, 100))
      return exited.finally(() => clearTimeout(timer))
    })
  await Promise.all(exits)
}

/** A free port: workers must all be told the same number, also those that replace others. */
async function freePort(host: string | undefined): Promise<number> {
  const server = createServer()
  server.listen(0, host)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
