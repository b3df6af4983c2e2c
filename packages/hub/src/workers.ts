import cluster, { type Worker as Child } from 'node:cluster'
import { once } from 'node:events'
import type { Logger } from '@damon/runtime/logger'
import type { WorkerReport } from './report.ts'
import { lateSweepMs, sweepMs, workerLeaseMs } from './store.ts'

/**
 * V8 lets the space of young objects grow to 100 MB in a storm of connections and keeps it: more than 10,000 of them need
 * themselves. With this they cost a third, and garbage is collected sooner, not dearer.
 */
const youngSpace = '--max-semi-space-size=4'

/** A worker that died sooner than this after its start is replaced with growing delay. */
const youngMs = 2_000
const longestDelayMs = 5_000

interface Running {
  child: Child
  since: number
  /** When it last told anything, monotonic ms. */
  heard: number
  /** Its number, once it serves. */
  origin: number | undefined
  reachable: boolean
}

/** Keeps worker processes running: starts them, ends those that are frozen, replaces those that die, stops them. */
export class Workers {
  readonly #log: Logger
  readonly #env: Record<string, string>
  readonly #changed: () => void
  readonly #serves: (child: Child) => void
  readonly #died: (origin: number | undefined, signal: string | undefined) => void
  readonly #running = new Map<number, Running>()
  readonly #watch: NodeJS.Timeout
  #looked = performance.now()
  #early = 0
  #stopped = false

  constructor(options: {
    log: Logger
    env: Record<string, string>
    /** Called when a worker begins or ceases to serve or to reach the store. */
    changed: () => void
    /** Called with each worker that begins to serve. */
    serves: (child: Child) => void
    /** Called when a worker's process is gone, with its number if it served. */
    died: (origin: number | undefined, signal: string | undefined) => void
  }) {
    this.#log = options.log
    this.#env = options.env
    this.#changed = options.changed
    this.#serves = options.serves
    this.#died = options.died
    cluster.setupPrimary({ args: [], serialization: 'advanced', execArgv: [...process.execArgv, youngSpace] })
    this.#watch = setInterval(() => this.#endFrozen(), sweepMs)
  }

  /** How many there are, serve, and serve without reaching the store. */
  get counts(): { running: number; serving: number; away: number } {
    const serving = [...this.#running.values()].filter(({ origin }) => origin !== undefined)
    return {
      running: this.#running.size,
      serving: serving.length,
      away: serving.filter(({ reachable }) => !reachable).length,
    }
  }

  /** The worker processes that serve. */
  get serving(): Child[] {
    return [...this.#running.values()].flatMap(({ child, origin }) => (origin === undefined ? [] : child))
  }

  /** Starts one; resolves when it serves. Rejects when it ends before that, or the signal is aborted. */
  async start(signal: AbortSignal): Promise<void> {
    const child = this.#fork()
    const ended = once(child, 'exit', { signal }).then(() => {
      throw new Error('A worker ended before it served. Its log says why.')
    })
    for (;;) {
      const [report] = (await Promise.race([once(child, 'message', { signal }), ended])) as [WorkerReport]
      if (report.kind === 'up') return
    }
  }

  /** Asks all to stop; those that have not after this time are killed. */
  async stop(withinMs: number): Promise<void> {
    this.#stopped = true
    clearInterval(this.#watch)
    const exits = [...this.#running.values()].map(({ child }) => {
      const exited = once(child, 'exit')
      if (child.isConnected()) child.send({ kind: 'stop' })
      const timer = setTimeout(() => child.process.kill('SIGKILL'), withinMs)
      return exited.finally(() => clearTimeout(timer))
    })
    await Promise.all(exits)
  }

  #fork(): Child {
    const child = cluster.fork(this.#env)
    const now = performance.now()
    const entry: Running = { child, since: now, heard: now, origin: undefined, reachable: false }
    this.#running.set(child.id, entry)
    child.on('error', (error) => this.#log.warn({ err: error, worker: child.id }, 'the line to a worker broke'))
    child.on('message', (report: WorkerReport) => this.#hear(entry, report))
    child.on('exit', (code, signal) => this.#replace(entry, code, signal))
    return child
  }

  #hear(entry: Running, report: WorkerReport): void {
    entry.heard = performance.now()
    if (report.kind === 'up') entry.origin = report.origin
    if (report.kind !== 'up' && report.kind !== 'reachable') return
    entry.reachable = report.reachable
    if (report.kind === 'up') this.#serves(entry.child)
    this.#changed()
  }

  #replace({ child, since, origin }: Running, code: number | null, signal: string | null): void {
    this.#running.delete(child.id)
    this.#changed()
    this.#died(origin, signal ?? undefined)
    if (this.#stopped) return
    this.#early = performance.now() - since < youngMs ? this.#early + 1 : 0
    const delayMs = this.#early === 0 ? 0 : Math.min(100 * 2 ** this.#early, longestDelayMs)
    this.#log.error(
      { worker: child.id, pid: child.process.pid, code, signal, delayMs },
      'a worker died and is replaced',
    )
    setTimeout(() => this.#stopped || this.#fork(), delayMs)
  }

  /** A worker whose event loop does not turn serves nobody, and the store takes it for dead as well. */
  #endFrozen(): void {
    const now = performance.now()
    const late = now - this.#looked >= lateSweepMs
    this.#looked = now
    for (const { child, heard, origin } of this.#running.values()) {
      // When it was the primary that stood still, what they told is still unread.
      if (late || origin === undefined || now - heard < workerLeaseMs) continue
      this.#log.error({ worker: child.id, pid: child.process.pid }, 'a worker stands still and is killed')
      child.process.kill('SIGKILL')
    }
  }
}
