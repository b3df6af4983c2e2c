import { writeSync } from 'node:fs'
import type { Registry } from 'prom-client'
import { z } from 'zod'
import { type Config, ConfigError, type ConfigShape, logLevel, milliseconds, port, readConfig } from './config.ts'
import { type Checks, startHealth } from './health.ts'
import { createLogger, type Logger } from './logger.ts'
import { createRegistry } from './metrics.ts'
import { concealer, secretsIn } from './secret.ts'

/** Read by every service. The shutdown ends before the 10 s after which Docker kills. */
const commonShape = {
  LOG_LEVEL: logLevel(),
  METRICS_HOST: z.string().default('127.0.0.1'),
  METRICS_PORT: port().default(0),
  SHUTDOWN_MS: milliseconds(100, 600_000).default(8_000),
}

/** Ctrl-C reaches a service from the terminal, from npm and from its parent: within this time they are one wish. */
const echoMs = 500

/** A service's configuration: its own variables and those that every service reads. */
export type ServiceConfig<Shape extends ConfigShape> = Config<Shape> & Config<typeof commonShape>

/** What a service is given to start with. */
export interface ServiceContext<Shape extends ConfigShape> {
  config: ServiceConfig<Shape>
  log: Logger
  registry: Registry
  /** Conditions of `/ready`; until `start` has resolved it is 503 in any case. */
  checks: Checks
  /** Everything opened goes in here; closed in reverse order, also when `start` fails half-way. */
  resources: AsyncDisposableStack
  /** Aborted when the service shall end; `start` MUST give up on it. */
  stopping: AbortSignal
  /** Aborted by a second signal to a service that drains: it MUST stop waiting for others and close what it has. */
  hurry: AbortSignal
}

/** What a started service tells. */
export interface Started {
  /** Put into the ready message, for example `{url: 'wss://localhost:8443'}`. */
  addresses?: Record<string, string>
  /** Served at `/metrics` instead of the registry's own, for a service of several processes. */
  metrics?: () => Promise<string>
}

/** The one message a service sends to a parent that spawned it with an IPC channel, once it can work. */
export interface ReadyMessage {
  ready: { name: string; metrics: string; [address: string]: string }
}

/**
 * Runs a service until SIGTERM, SIGINT or the loss of the parent's IPC channel, and exits the process: 0 after an orderly
 * end, 1 after an error, a second signal or a shutdown longer than SHUTDOWN_MS, 78 if the configuration is not valid.
 * A service that `drains`, whose end waits for others, is hurried by the second signal; the third ends it.
 */
export async function runService<Shape extends ConfigShape>(service: {
  name: string
  config: Shape
  drains?: boolean
  start: (context: ServiceContext<Shape>) => Promise<Started>
}): Promise<never> {
  const wish = stopWish()
  const config = readConfigOrExit({ ...service.config, ...commonShape }) as ServiceConfig<Shape>
  const secrets = secretsIn(config)
  const log = createLogger({ service: service.name, level: config.LOG_LEVEL, secrets })
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'uncaught error')
    process.exit(1)
  })

  wish.signal.addEventListener('abort', () => {
    log.info({ reason: wish.signal.reason }, 'stopping')
    setTimeout(() => {
      log.fatal({ ms: config.SHUTDOWN_MS }, 'not closed within SHUTDOWN_MS')
      process.exit(1)
    }, config.SHUTDOWN_MS)
  })
  const hurry = new AbortController()
  wish.onRepeat(() => {
    if (service.drains && !hurry.signal.aborted) {
      log.warn('hurried by a second signal')
      hurry.abort('a second signal')
      return
    }
    log.fatal('stopped by a repeated signal')
    process.exit(1)
  })
  const registry = createRegistry(service.name)
  let metrics = () => registry.metrics()
  let phase: 'starting' | 'running' | 'stopping' = 'starting'
  const checks: Checks = new Map([['service', () => (phase === 'running' ? undefined : phase)]])
  let failed = false
  try {
    await using resources = new AsyncDisposableStack()
    const health = await startHealth({
      host: config.METRICS_HOST,
      port: config.METRICS_PORT,
      metrics: () => metrics(),
      checks,
      conceal: concealer(secrets),
    })
    resources.use(health)
    log.info({ metrics: health.url }, 'starting')
    const context = { config, log, registry, checks, resources, stopping: wish.signal, hurry: hurry.signal }
    const started = await startOrFail(service.start, context).catch((error) => {
      log.fatal({ err: error }, 'cannot start')
      failed = true
      wish.stop('cannot start')
    })
    if (started && !wish.signal.aborted) {
      metrics = started.metrics ?? metrics
      phase = 'running'
      log.info({ ...started.addresses, metrics: health.url }, 'ready')
      const message: ReadyMessage = { ready: { ...started.addresses, name: service.name, metrics: health.url } }
      // A parent that is gone is told of by 'disconnect'.
      process.send?.(message, undefined, undefined, () => {})
      await wish.promise
    }
    phase = 'stopping'
  } catch (error) {
    log.fatal({ err: error }, phase === 'starting' ? 'cannot start' : 'cannot close')
    failed = true
  }
  log.info('stopped')
  process.exit(failed ? 1 : 0)
}

/** Starts, unless the wish to stop came first; a start that gives up on that wish has not failed. */
async function startOrFail<Shape extends ConfigShape>(
  start: (context: ServiceContext<Shape>) => Promise<Started>,
  context: ServiceContext<Shape>,
): Promise<Started | undefined> {
  if (context.stopping.aborted) return undefined
  try {
    return await start(context)
  } catch (error) {
    if (context.stopping.aborted) return undefined
    throw error
  }
}

function readConfigOrExit<Shape extends ConfigShape>(shape: Shape): Config<Shape> {
  try {
    return readConfig(shape, process.env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    writeSync(2, `${error.message}\n`)
    process.exit(78)
  }
}

/** The wish to stop, listened for from the first moment; `repeat` is another signal after the echo of the one before. */
function stopWish() {
  const controller = new AbortController()
  const { promise, resolve } = Promise.withResolvers<void>()
  let repeat = () => {}
  let since = 0
  const stop = (reason: string) => {
    if (controller.signal.aborted) return
    since = performance.now()
    controller.abort(reason)
    resolve()
  }
  const onSignal = (name: NodeJS.Signals) => {
    if (controller.signal.aborted && performance.now() - since > echoMs) {
      since = performance.now()
      repeat()
    }
    stop(name)
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  if (process.send) {
    process.on('disconnect', () => stop('parent gone'))
    if (!process.connected) stop('parent gone')
  }
  return {
    signal: controller.signal,
    promise,
    stop,
    onRepeat(listener: () => void) {
      repeat = listener
    },
  }
}
