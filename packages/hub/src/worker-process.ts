import cluster from 'node:cluster'
import { logLevel, readConfig } from '@damon/runtime/config'
import { createLogger } from '@damon/runtime/logger'
import { createRegistry } from '@damon/runtime/metrics'
import { AggregatorRegistry } from 'prom-client'
import { hubConfig } from './config.ts'
import type { PrimaryOrder, WorkerReport } from './report.ts'
import { sweepMs } from './store.ts'
import { startWorker, type Worker } from './worker.ts'

/** After this the process ends even if something keeps it alive, ms. */
const lastMs = 2_000

/** The life of a worker process: serves until its primary says stop, or is gone, or the store has fenced it. */
export async function runWorkerProcess(): Promise<void> {
  // Ctrl-C in a terminal reaches the whole group; the primary decides when a worker stops.
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => undefined)
  process.on('SIGHUP', () => undefined)
  const config = readConfig({ ...hubConfig, LOG_LEVEL: logLevel() }, process.env)
  const secrets = [config.HUB_TLS_KEY, ...(config.REDIS_URL ? [config.REDIS_URL] : [])]
  const log = createLogger({ service: 'hub', level: config.LOG_LEVEL, secrets })
  const end = (code: number, message: string, error?: unknown) => {
    log[code === 0 ? 'info' : 'fatal']({ err: error }, message)
    process.exit(code)
  }
  let stopped = false
  process.on('uncaughtException', (error) => {
    // A connection that the primary offered at the last moment cannot be refused in words any more; its end does.
    if (stopped && 'code' in error && error.code === 'ERR_IPC_CHANNEL_CLOSED') return
    end(1, 'uncaught error', error)
  })
  process.on('disconnect', () => end(0, 'the primary is gone'))

  const registry = createRegistry('hub')
  // Answers the primary, which adds up what the workers count.
  AggregatorRegistry.setRegistries(registry)
  new AggregatorRegistry()
  // A line that is gone is told of by 'disconnect'.
  const tell = (report: WorkerReport) => process.send?.(report, undefined, undefined, () => undefined)
  let worker: Worker | undefined
  setInterval(() => tell({ kind: 'alive', sessions: worker?.sessions ?? 0 }), sweepMs).unref()
  process.on('message', async (order: PrimaryOrder) => {
    if (order.kind === 'present') {
      worker?.present(order)
      tell({ kind: 'presents', fingerprint: order.fingerprint })
    }
    if (order.kind === 'accept') worker?.accept(order.accepts)
    if (order.kind === 'part') worker?.part(order)
    if (order.kind === 'trust') await worker?.trust(order.list)
    // Others speak on this line too: whoever asks for the metrics.
    if (order.kind !== 'stop') return
    if (!worker) return end(0, 'stopped before it served')
    await worker.stop(order)
    stopped = true
    setTimeout(() => process.exit(0), lastMs).unref()
    process.removeAllListeners('disconnect')
    cluster.worker?.disconnect()
  })
  try {
    worker = await startWorker({
      config,
      embedded: process.env.HUB_INTERNAL_SOCKET,
      log,
      registry,
      reachable: (reachable) => tell({ kind: 'reachable', reachable }),
      roll: (wish) => tell({ kind: 'roll', wish }),
      fenced: () => end(1, 'fenced: this worker was taken for dead'),
    })
  } catch (error) {
    return end(1, 'the worker cannot start', error)
  }
  const { origin, port, reachable } = worker
  log.info({ origin, port }, 'worker serves')
  tell({ kind: 'up', origin, port, reachable })
}
