import { type ChildProcess, spawn } from 'node:child_process'
import { type Backoff, backoff, delay } from '@damon/runtime/retry'
import { CliError } from '../cli-error.ts'
import type { ServiceLog } from './service-log.ts'

/** A service's own words when it can work: its name, the URL of its metrics, its addresses. */
export type Ready = Readonly<Record<string, string>>

/** What is started. */
export interface ServiceSpec {
  name: string
  /** Path of its main.ts. */
  script: string
  /** Its whole environment; `last` is what it said when it was ready before. */
  env(last: Ready | undefined): Record<string, string>
}

const readyMs = 30_000
/** Longer than a service allows itself for its shutdown. */
const stopMs = 10_000
/** After this time it counts as started well, so that the next end is the first again. */
const stableMs = 30_000

/** One service as a process of its own: started again with backoff when it ends by itself, stopped when disposed. */
export class ServiceProcess implements AsyncDisposable {
  readonly name: string
  readonly #spec: ServiceSpec
  readonly #log: ServiceLog
  readonly #tell: (line: string) => void
  readonly #backoff: Backoff
  readonly #stopping = new AbortController()
  #child: ChildProcess | undefined
  #ended: Promise<string> = Promise.resolve('not started')
  #ready: Ready | undefined
  #kept: Promise<void> = Promise.resolve()

  constructor(spec: ServiceSpec, log: ServiceLog, tell: (line: string) => void) {
    this.name = spec.name
    this.#spec = spec
    this.#log = log
    this.#tell = tell
    this.#backoff = backoff({ baseMs: 250, maxMs: 10_000 })
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** What it said when it was ready last. */
  get ready(): Ready | undefined {
    return this.#ready
  }

  /** Starts it. Throws `service_failed` with its own words if it ends, or is not ready within 30 s; `signal` ends it. */
  async start(signal: AbortSignal): Promise<Ready> {
    signal.throwIfAborted()
    const giveUp = () => this.#child?.kill('SIGTERM')
    signal.addEventListener('abort', giveUp)
    try {
      const ready = await this.#spawn()
      this.#kept = this.#keep()
      return ready
    } finally {
      signal.removeEventListener('abort', giveUp)
    }
  }

  /** Ends it at once, with all its workers. */
  kill(): void {
    this.#stopping.abort()
    killGroup(this.#child)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort()
    const timer = setTimeout(() => {
      this.#tell(`${this.name} did not stop within ${stopMs / 1000} s and is killed.`)
      killGroup(this.#child)
    }, stopMs)
    this.#child?.kill('SIGTERM')
    await this.#ended
    await this.#kept
    clearTimeout(timer)
  }

  async #spawn(): Promise<Ready> {
    const { signal } = this.#stopping
    signal.throwIfAborted()
    const child = spawn(process.execPath, [this.#spec.script], {
      env: this.#spec.env(this.#ready),
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      // A group of its own: Ctrl-C reaches this process alone, which stops the services in order.
      detached: true,
    })
    this.#child = child
    const outputs = [child.stdout!, child.stderr!].map((output) => this.#log.follow(output))
    const over = Promise.withResolvers<string>()
    child.once('error', (error) => over.resolve(`could not be started: ${error.message}`))
    child.once('exit', (code, name) => {
      // Its workers hold its outputs open.
      killGroup(child)
      over.resolve(`ended (${name ?? `exit code ${code}`})`)
    })
    this.#ended = over.promise.then(async (end) => {
      await Promise.all(outputs)
      return end
    })
    const { promise: late, resolve: expire } = Promise.withResolvers<string>()
    const timer = setTimeout(() => {
      killGroup(child)
      expire(`was not ready within ${readyMs / 1000} s`)
    }, readyMs)
    try {
      const first = await Promise.race([readyMessage(child), this.#ended, late])
      if (typeof first === 'string') throw this.#failure(first)
      this.#ready = first
      return first
    } finally {
      clearTimeout(timer)
    }
  }

  async #keep(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      const since = performance.now()
      const end = await this.#ended
      if (signal.aborted) return
      if (performance.now() - since > stableMs) this.#backoff.reset()
      await this.#revive(end)
    }
  }

  async #revive(end: string): Promise<void> {
    const { signal } = this.#stopping
    for (let why = end; ; ) {
      const wait = this.#backoff.next()
      this.#tell(`${this.name} ${why}; it is started again in ${(wait / 1000).toFixed(1)} s.`)
      try {
        await delay(wait, signal)
        await this.#spawn()
        this.#tell(`${this.name} is back (pid ${this.pid}).`)
        return
      } catch (error) {
        if (signal.aborted) return
        why = error instanceof CliError ? 'did not start' : `did not start: ${(error as Error).message}`
      }
    }
  }

  #failure(what: string): CliError {
    const { problems } = this.#log
    const words = problems.length > 0 ? problems.map((problem) => `\n  ${problem}`).join('') : ''
    return new CliError('service_failed', `${this.name} ${what}.${words}`)
  }
}

function readyMessage(child: ChildProcess): Promise<Ready> {
  return new Promise((resolve) => {
    child.on('message', (message: { ready?: Ready }) => {
      if (message.ready) resolve(message.ready)
    })
  })
}

function killGroup(child: ChildProcess | undefined): void {
  if (child?.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // Nobody of the group is left.
  }
}
