import type { Worker as Child } from 'node:cluster'
import { once } from 'node:events'
import { chmod, mkdir } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import type { ServiceContext, Started } from '@damon/runtime/service'
import { thumbprint } from '@damon/trust/keys'
import type { TrustList } from '@damon/trust/trust-list'
import { AggregatorRegistry, Counter, Gauge, Registry } from 'prom-client'
import { type hubConfig, storeTimes } from './config.ts'
import { openKept } from './embedded/kept.ts'
import { serveEmbedded } from './embedded/server.ts'
import { Identity } from './identity.ts'
import { OwnCertificate } from './own-certificate.ts'
import type { PrimaryOrder } from './report.ts'
import { Roll } from './roll.ts'
import { TrustFile } from './trust-file.ts'
import { holdTrust, keptTrustMark, redisTrustMark, type TrustMark } from './trust-mark.ts'
import { removeStale } from './unix-socket.ts'
import { Workers } from './workers.ts'

/**
 * V8 would let the space of young objects grow to 128 MiB in a storm of connections and keep it. The embedded store costs the same
 * with any size of it: this leaves it as it is when the primary starts.
 */
const youngSpace = '--semi-space-growth-factor=1'

/** What of SHUTDOWN_MS is left for everything but the workers, ms. */
const afterWorkersMs = 1_000

/** Runs the workers and what they share: the embedded store, or the word to Redis when one of them is dead. */
export async function startPrimary(context: ServiceContext<typeof hubConfig>): Promise<Started> {
  const { config, log, checks, resources, stopping } = context
  setFlagsFromString(youngSpace)
  const identity = await Identity.load({
    root: config.HUB_ROOT_KEY,
    trustList: config.HUB_TRUST.trim(),
    aud: config.HUB_AUDIENCE,
    certificate: config.HUB_TLS_CERT,
    names: config.HUB_NAMES,
  })
  if (identity.dev && !config.ALLOW_DEV_KEYS)
    throw new Error('The trust list is for development. Make keys with `damon keys init`, or set ALLOW_DEV_KEYS=1.')

  const metrics = createPrimaryMetrics()
  const backbone = config.REDIS_URL ? await redisMorgue(context) : await embeddedMorgue(context, metrics)
  await holdTrust(backbone.mark, identity.trust.seq, { log, stopping })
  const port = config.HUB_PORT === 0 ? await freePort(config.HUB_HOST) : config.HUB_PORT
  const plain = config.HUB_PLAIN_PORT === 0 ? await freePort('127.0.0.1') : config.HUB_PLAIN_PORT
  if (config.HUB_PLAIN_SOCKET !== undefined) await removeStale(config.HUB_PLAIN_SOCKET)
  const own: OwnCertificate = new OwnCertificate({ log, gauge: metrics.expiry, workers: () => workers.serving })
  const trust = followTrust(context, identity.trust, (list, seq) => {
    backbone.mark
      .raise(seq)
      .catch((error) => log.error({ err: error, seq }, 'a restart may not know of this trust list'))
    for (const child of workers.serving) child.send({ kind: 'trust', list } satisfies PrimaryOrder)
  })
  const wishes = new Set<string>()
  const workers: Workers = new Workers({
    log,
    env: () => ({
      HUB_PORT: String(port),
      ...(plain !== undefined && { HUB_PLAIN_PORT: String(plain) }),
      ...(backbone.path && { HUB_INTERNAL_SOCKET: backbone.path }),
      // What counts, not what the file holds by then.
      ...(trust && { HUB_TRUST: trust.text, HUB_TRUST_FILE: '' }),
    }),
    moveMs: config.HUB_ROLL_MS,
    changed: () => metrics.workers.set(workers.counts.serving),
    serves: (child) => own.greet(child),
    died: (origin, signal) => {
      if (signal) metrics.exits.inc({ signal })
      if (origin !== undefined) backbone.bury(origin)
    },
    roll: (wish) => {
      if (wishes.has(wish)) return
      wishes.add(wish)
      roll.begin('an operator wishes it')
    },
  })
  const roll: Roll<Child> = new Roll({
    fleet: workers,
    log,
    stopping,
    done: (result) => metrics.rolls.inc({ result }),
  })
  resources.defer(() => workers.stop(Math.max(config.SHUTDOWN_MS - afterWorkersMs, 100), config.HUB_PEERS))
  const onHangUp = () => {
    void trust?.look()
    roll.begin('SIGHUP')
  }
  process.on('SIGHUP', onHangUp)

  checks.set('workers', () => (workers.counts.serving > 0 ? undefined : 'no worker serves'))
  checks.set('store', () => {
    const { away, serving } = workers.counts
    return away === 0 ? undefined : `${away} of ${serving} workers do not reach the store`
  })
  await Promise.all(Array.from({ length: config.HUB_WORKERS }, () => workers.start(stopping)))
  // For the terminator, which is another user of the same group.
  if (config.HUB_PLAIN_SOCKET !== undefined) await chmod(config.HUB_PLAIN_SOCKET, 0o660)
  if (config.HUB_CONNECTION) resources.use(await own.follow({ ...config, HUB_PORT: port }))
  return {
    addresses: {
      url: `wss://localhost:${port}`,
      ...(plain !== undefined && { plain: `ws://127.0.0.1:${plain}` }),
      ...(config.HUB_PLAIN_SOCKET !== undefined && { plainSocket: config.HUB_PLAIN_SOCKET }),
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
  mark: TrustMark
  bury(origin: number): void
}

async function embeddedMorgue(
  { config, log, resources }: ServiceContext<typeof hubConfig>,
  metrics: ReturnType<typeof createPrimaryMetrics>,
): Promise<Morgue> {
  if (config.HUB_STATE_DIR) await mkdir(config.HUB_STATE_DIR, { recursive: true, mode: 0o700 })
  const kept = openKept(config.HUB_STATE_DIR ? join(config.HUB_STATE_DIR, 'records.sqlite') : ':memory:')
  const server = await serveEmbedded({ kept, times: storeTimes(config), log })
  resources.use(server)
  metrics.logBytes(() => server.logBytes)
  const mark = keptTrustMark(kept, await thumbprint(config.HUB_ROOT_KEY))
  return { path: server.path, mark, bury: (origin) => server.endWorker(origin) }
}

async function redisMorgue({ config, log, resources }: ServiceContext<typeof hubConfig>): Promise<Morgue> {
  // Whoever has no Redis need not load its client.
  const [{ endRedisWorker }, { ScriptedRedis }, { RedisKeys }] = await Promise.all([
    import('./bus-redis.ts'),
    import('./redis/client.ts'),
    import('./redis/keys.ts'),
  ])
  const url = config.REDIS_URL?.reveal() ?? ''
  const options = { url, prefix: config.REDIS_PREFIX, times: storeTimes(config) }
  const control = new ScriptedRedis(options, 'damon-hub-primary')
  resources.defer(() => control.redis.disconnect())
  control.redis.connect().catch(() => undefined)
  const { trust } = new RedisKeys(config.REDIS_PREFIX)
  return {
    mark: redisTrustMark(control.redis, trust, await thumbprint(config.HUB_ROOT_KEY)),
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
    rolls: new Counter({
      name: 'damon_hub_rolls_total',
      help: 'Times that all workers were replaced',
      labelNames: ['result'],
      registers,
    }),
    /** Shows what this says. */
    logBytes: (held: () => number) => {
      new Gauge({
        name: 'damon_hub_log_bytes',
        help: 'What the logs of all workers hold, without Redis',
        registers,
        collect() {
          this.set(held())
        },
      })
    },
    expiry: new Gauge({
      name: 'damon_hub_certificate_expiry_timestamp_seconds',
      help: 'When the certificate that the hub shows ends',
      registers,
    }),
    text: async () => `${await aggregator.clusterMetrics()}\n${await registry.metrics()}`,
  }
}

/** Follows the file of the trust list, where it came from one. */
function followTrust(
  { config, log, resources }: ServiceContext<typeof hubConfig>,
  list: TrustList,
  changed: (text: string, seq: number) => void,
): TrustFile | undefined {
  const path = process.env.HUB_TRUST_FILE
  if (!path) return undefined
  const current = { text: config.HUB_TRUST.trim(), list }
  const [root, aud, dev] = [config.HUB_ROOT_KEY, config.HUB_AUDIENCE, config.ALLOW_DEV_KEYS]
  return resources.use(new TrustFile({ path, root, aud, dev, current, log, changed }))
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
