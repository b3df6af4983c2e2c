import cluster, { type Worker as Child } from 'node:cluster'
import type { Logger } from '@damon/runtime/logger'
import { delay } from '@damon/runtime/retry'
import type { Load } from './balance.ts'
import { closeUntaken } from './hand-over.ts'
import type { PrimaryOrder, WorkerReport } from './report.ts'
import type { Fleet } from './roll.ts'
import { lateSweepMs, sweepMs, workerLeaseMs } from './store.ts'

/**
 * V8 lets the space of young objects grow to 100 MB in a storm of connections and keeps it: more than 10,000 of them need
 * themselves. With this they cost a third, and garbage is collected sooner, not dearer.
 */
const youngSpace = '--max-semi-space-size=4'

/** A worker that died before it served, or sooner than this after it began to, is replaced with growing delay. */
const youngMs = 2_000
const longestDelayMs = 5_000

interface Running {
  child: Child
  /** When it began to serve. */
  since: number | undefined
  /** When it last told anything, monotonic ms. */
  heard: number
  /** Its number, once it serves. */
  origin: number | undefined
  reachable: boolean
  sessions: number
  /** When it last counted its sessions, monotonic ms. */
  counted: number
  /** It shall end, and nobody takes its place. */
  retiring: boolean
  /** Whoever started it waits for it to serve; it is not replaced until it does. */
  trial: boolean
}

/** A new worker serves within this time, ms, or is given up. */
const trialMs = 60_000

/** What a worker may take beyond the time for its clients until it has ended, ms. */
const endMs = 5_000

/** What of the time to stop is left when the clients have gone, ms. */
const lastMs = 2_000

/** How long workers may take to say how many sessions they have, ms. */
const countMs = 2 * sweepMs

/** Keeps worker processes running: starts them, ends those that are frozen, replaces those that die, stops them. */
export class Workers implements Fleet<Child> {
  readonly #log: Logger
  readonly #env: () => Record<string, string>
  readonly #changed: () => void
  readonly #serves: (child: Child) => void
  readonly #died: (origin: number | undefined, signal: string | undefined) => void
  readonly #roll: (wish: string) => void
  readonly #moveMs: number
  readonly #running = new Map<number, Running>()
  readonly #watch: NodeJS.Timeout
  #looked = performance.now()
  #early = 0
  #stopped = false

  constructor(options: {
    log: Logger
    /** What a worker is started with, beside the environment of this process. */
    env: () => Record<string, string>
    /** The longest time that clients of one worker may take to move, ms. */
    moveMs: number
    /** Called when a worker begins or ceases to serve or to reach the store. */
    changed: () => void
    /** Called with each worker that begins to serve. */
    serves: (child: Child) => void
    /** Called when a worker's process is gone, with its number if it served. */
    died: (origin: number | undefined, signal: string | undefined) => void
    /** Called with an operator's wish that all are replaced; more than once with the same. */
    roll: (wish: string) => void
  }) {
    this.#log = options.log
    this.#env = options.env
    this.#changed = options.changed
    this.#serves = options.serves
    this.#died = options.died
    this.#roll = options.roll
    this.#moveMs = options.moveMs
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
    return [...this.#running.values()].flatMap(({ child, origin, retiring }) =>
      origin === undefined || retiring ? [] : child,
    )
  }

  /** Starts one; resolves when it serves. Rejects when it ends before that, or the signal is aborted. */
  async start(signal: AbortSignal): Promise<void> {
    await serves(this.#fork(false), signal)
  }

  /** Starts one more; rejects when it ends before it serves, or does not serve in time. */
  async add(): Promise<Child> {
    const child = this.#fork(true)
    const entry = this.#running.get(child.id)
    try {
      await serves(child, AbortSignal.timeout(trialMs))
      return child
    } catch (error) {
      child.process.kill('SIGKILL')
      throw error
    } finally {
      if (entry) entry.trial = false
    }
  }

  async retire(child: Child): Promise<void> {
    const entry = this.#running.get(child.id)
    if (!entry) return
    entry.retiring = true
    const withinMs = movingMs(entry.sessions, this.#moveMs)
    await this.#end(child, { kind: 'stop', withinMs, hubs: [] }, withinMs + endMs)
  }

  accept(takers: readonly Child[]): void {
    // First those that do: at no moment nobody listens.
    for (const child of takers) order(child, { kind: 'accept', accepts: true })
    for (const child of this.serving) if (!takers.includes(child)) order(child, { kind: 'accept', accepts: false })
  }

  async part(moves: readonly { worker: Child; count: number }[]): Promise<void> {
    const times = moves.map(({ worker, count }) => {
      const withinMs = movingMs(count, this.#moveMs)
      order(worker, { kind: 'part', count, withinMs })
      return withinMs
    })
    await delay(Math.max(0, ...times))
  }

  async count(): Promise<Load<Child>[]> {
    const since = performance.now()
    const serving = () =>
      [...this.#running.values()].filter(({ origin, retiring }) => origin !== undefined && !retiring)
    while (serving().some(({ counted }) => counted < since) && performance.now() < since + countMs) await delay(50)
    return serving().map(({ child, sessions }) => ({ worker: child, sessions }))
  }

  /** Asks all to stop, and their clients to go to these hubs meanwhile; those that have not ended after this time are killed. */
  async stop(withinMs: number, hubs: string[]): Promise<void> {
    this.#stopped = true
    clearInterval(this.#watch)
    const sessions = Math.max(0, ...[...this.#running.values()].map(({ sessions }) => sessions))
    // Without another hub clients keep what they have until the end.
    const moveMs = hubs.length > 0 ? movingMs(sessions, Math.max(withinMs - lastMs, 0)) : 0
    await Promise.all(
      [...this.#running.values()].map(({ child }) =>
        this.#end(child, { kind: 'stop', withinMs: moveMs, hubs }, withinMs),
      ),
    )
  }

  async #end(child: Child, stop: PrimaryOrder, withinMs: number): Promise<void> {
    const exited = exitOf(child)
    order(child, stop)
    const timer = setTimeout(() => child.process.kill('SIGKILL'), withinMs)
    await exited.finally(() => clearTimeout(timer))
  }

  #fork(trial: boolean): Child {
    const child = cluster.fork(this.#env())
    closeUntaken(child)
    const entry: Running = {
      ...{ child, since: undefined, heard: performance.now(), origin: undefined, reachable: false },
      ...{ sessions: 0, counted: 0, retiring: false, trial },
    }
    this.#running.set(child.id, entry)
    child.on('error', (error) => this.#log.warn({ err: error, worker: child.id }, 'the line to a worker broke'))
    child.on('message', (report: WorkerReport) => this.#hear(entry, report))
    child.on('exit', (code, signal) => this.#replace(entry, code, signal))
    return child
  }

  #hear(entry: Running, report: WorkerReport): void {
    entry.heard = performance.now()
    if (report.kind === 'alive') {
      entry.sessions = report.sessions
      entry.counted = entry.heard
    }
    if (report.kind === 'roll') this.#roll(report.wish)
    if (report.kind === 'up') Object.assign(entry, { origin: report.origin, since: entry.heard })
    if (report.kind !== 'up' && report.kind !== 'reachable') return
    entry.reachable = report.reachable
    if (report.kind === 'up') this.#serves(entry.child)
    this.#changed()
  }

  #replace(entry: Running, code: number | null, signal: string | null): void {
    const { child, since, origin, retiring, trial } = entry
    this.#running.delete(child.id)
    this.#changed()
    this.#died(origin, retiring && code === 0 ? undefined : (signal ?? 'none'))
    if (this.#stopped || retiring || trial) return
    // It may have been the only one that took new connections.
    this.accept(this.serving)
    this.#early = since === undefined || performance.now() - since < youngMs ? this.#early + 1 : 0
    const delayMs = this.#early === 0 ? 0 : Math.min(100 * 2 ** this.#early, longestDelayMs)
    this.#log.error(
      { worker: child.id, pid: child.process.pid, code, signal, delayMs },
      'a worker died and is replaced',
    )
    setTimeout(() => this.#stopped || this.#fork(false), delayMs)
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

/** Resolves when it serves; rejects when it ends before, or with the signal's reason. */
async function serves(child: Child, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const hear = (report: WorkerReport) => {
    if (report.kind === 'up') resolve()
  }
  const late = () => reject(signal.reason)
  child.on('message', hear)
  signal.addEventListener('abort', late, { once: true })
  exitOf(child).then(() => reject(new Error('A worker ended before it served. Its log says why.')))
  try {
    signal.throwIfAborted()
    await promise
  } finally {
    child.off('message', hear)
    signal.removeEventListener('abort', late)
  }
}

/** Resolves when the process is gone; an error of the line to it is no reason not to wait, as it would be for `once`. */
function exitOf(child: Child): Promise<void> {
  return new Promise((resolve) => void child.once('exit', () => resolve()))
}

/** Tells a worker what to do; nothing happens where it is gone. */
function order(child: Child, what: PrimaryOrder): void {
  if (child.isConnected()) child.send(what, () => undefined)
}

/** Time for so many clients to connect elsewhere, one after another: each costs the other worker some ms. */
function movingMs(sessions: number, mostMs: number): number {
  return Math.min(100 + sessions * 8, mostMs)
}
