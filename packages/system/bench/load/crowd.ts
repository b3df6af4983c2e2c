import type { Pass, Task } from '../work.ts'
import { type Dialect, dialectOf } from './dialect.ts'
import { Line } from './line.ts'

/** How often some of the clients show that they live, ms. */
const beatMs = 250

/** All clients of a run: dials them, keeps their heartbeats, and is broken as soon as one of them is. */
export class Crowd implements Disposable {
  readonly dialect: Dialect
  readonly lines: Line[] = []
  /** Rejects when a connection breaks. */
  readonly broken: Promise<never>
  readonly #task: Task
  readonly #break: (error: Error) => void
  readonly #beats: NodeJS.Timeout | undefined
  #beat = 0

  constructor(task: Task) {
    this.#task = task
    this.dialect = dialectOf(task.endpoint)
    const { promise, reject } = Promise.withResolvers<never>()
    this.broken = promise
    this.broken.catch(() => undefined)
    this.#break = reject
    const { heartbeatMs } = this.dialect
    if (heartbeatMs) this.#beats = setInterval(() => this.#show(Math.floor(heartbeatMs / beatMs)), beatMs)
  }

  /** Dials clients and lets them in, `abreast` at a time; `reading` as in Tally. */
  async dial(passes: readonly Pass[], options: { abreast?: number; reading?: boolean } = {}): Promise<Line[]> {
    const { abreast = 32, reading = false } = options
    const lines: Line[] = []
    let next = 0
    const dialNext = async () => {
      for (;;) {
        const index = next++
        const pass = passes[index]
        if (!pass) return
        const { endpoint } = this.#task
        const line = await Line.dial({ endpoint, dialect: this.dialect, pass, index, failed: this.#break, reading })
        lines[index] = line
        await this.dialect.open(line)
        this.lines.push(line)
      }
    }
    await this.or(Promise.all(Array.from({ length: abreast }, dialNext)))
    return lines
  }

  /** The same promise, but not longer than all connections hold. */
  or<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.broken])
  }

  [Symbol.dispose](): void {
    clearInterval(this.#beats)
    for (const line of this.lines) line.end()
  }

  #show(shares: number): void {
    for (let i = this.#beat++ % shares; i < this.lines.length; i += shares) {
      const line = this.lines[i]
      const beat = line && this.dialect.heartbeat?.(line)
      if (beat) line.write(beat)
    }
  }
}
