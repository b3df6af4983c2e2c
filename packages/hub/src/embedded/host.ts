import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { Logger } from '@damon/runtime/logger'
import type { StoreTimes } from '../store.ts'
import type { Kept } from './kept.ts'
import { EmbeddedState } from './state.ts'
import {
  lineBytes,
  type PrimaryMessage,
  receive,
  send,
  sendAppended,
  sendBatch,
  sendClone,
  type WorkerMessage,
} from './wire.ts'

/** How often leases and graces are looked at, ms. */
const sweepMs = 250

/** Keeps the embedded state and serves it to workers, each on a line of its own. A worker that does not read is cut off. */
export class EmbeddedHost implements Disposable {
  readonly #log: Logger
  readonly #kept: Kept
  readonly #epoch = randomBytes(8).toString('hex')
  readonly #lines = new Map<number, Duplex>()
  readonly #state: EmbeddedState
  readonly #timer: NodeJS.Timeout

  constructor({ kept, times, log }: { kept: Kept; times: StoreTimes; log: Logger }) {
    this.#log = log
    this.#kept = kept
    this.#state = new EmbeddedState({
      kept,
      times,
      now: () => performance.now(),
      unreserved: (error) => log.error({ err: error }, 'the disk does not take what must be known after a restart'),
      audience: {
        batch: (to, batch, stamp) => {
          const line = this.#lineTo(to)
          if (line) sendBatch(line, batch, stamp)
        },
        change: (to, change) => this.#tell(to, { kind: 'change', change }),
        gone: (to, sessions) => this.#tell(to, { kind: 'gone', sessions }),
        over: (to, sessions) => this.#tell(to, { kind: 'over', sessions }),
        release: (to, session) => this.#tell(to, { kind: 'release', session }),
        ended: (to, origin) => this.#tell(to, { kind: 'ended', origin }),
      },
    })
    this.#timer = setInterval(() => this.#state.sweep(), sweepMs)
  }

  /** Admits the worker at the other end and serves it until the line ends, which ends the worker. */
  take(line: Duplex): void {
    line.on('error', (error) => this.#log.warn({ err: error }, 'the line to a worker broke'))
    const origin = this.#admit(line)
    if (origin === undefined) return
    this.#lines.set(origin, line)
    this.#tell(origin, { kind: 'admitted', origin, epoch: this.#epoch })
    receive<WorkerMessage>(line, {
      value: (message) =>
        this.#attempt(origin, message.id, message.name, () => {
          const value = this.#answer(origin, message)
          const line = this.#lineTo(origin)
          if (!line) return
          const tell = message.name === 'read' ? sendClone : send
          tell(line, { kind: 'result', id: message.id, value })
        }),
      append: (id, batches, freeze, asked) =>
        this.#attempt(origin, id, 'append', () => {
          if (!this.#state.has(origin)) throw new Error('fenced')
          const frozen = this.#state.append(origin, batches, freeze, asked)
          const line = this.#lineTo(origin)
          if (line) sendAppended(line, id, frozen)
        }),
    })
    line.on('close', () => {
      this.#lines.delete(origin)
      this.endWorker(origin)
    })
  }

  /** What the logs hold, bytes. */
  get logBytes(): number {
    return this.#state.logBytes
  }

  /** The worker's process is gone. */
  endWorker(origin: number): void {
    this.#state.endWorker(origin)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    for (const line of this.#lines.values()) line.destroy()
    this.#kept[Symbol.dispose]()
  }

  #admit(line: Duplex): number | undefined {
    try {
      return this.#state.admit()
    } catch (error) {
      this.#log.error({ err: error }, 'a worker cannot be admitted')
      line.destroy()
      return undefined
    }
  }

  #attempt(origin: number, id: number, call: string, work: () => void): void {
    try {
      work()
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error)
      if (text !== 'fenced') this.#log.error({ err: error, call }, 'a call of a worker failed')
      this.#tell(origin, { kind: 'result', id, error: text })
    }
  }

  #answer(origin: number, { name, args }: WorkerMessage): unknown {
    const state = this.#state
    if (name === 'renew') return state.renew(origin)
    if (!state.has(origin)) throw new Error('fenced')
    switch (name) {
      case 'subscribe':
      case 'unsubscribe':
      case 'forget':
      case 'openSession':
      case 'release':
      case 'takeOver':
        return (state[name] as (...args: unknown[]) => unknown)(origin, ...args)
      case 'fence':
        return state.endWorker(args[0] as number)
      default:
        return (state[name] as (...args: unknown[]) => unknown)(...args)
    }
  }

  #tell(to: number, message: PrimaryMessage): void {
    const line = this.#lineTo(to)
    if (line) send(line, message)
  }

  #lineTo(to: number): Duplex | undefined {
    const line = this.#lines.get(to)
    if (!line || line.destroyed) return undefined
    if (line.writableLength <= lineBytes) return line
    this.#log.error({ origin: to, bytes: line.writableLength }, 'a worker does not read and is cut off')
    line.destroy()
    return undefined
  }
}
