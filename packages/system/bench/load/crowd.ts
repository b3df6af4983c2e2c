import { setTimeout as sleep } from 'node:timers/promises'
import type { Pass, Task } from '../work.ts'
import type { Dialect } from './dialect.ts'
import { dialectOf } from './dialects.ts'
import { Line } from './line.ts'

/** How often some of the clients show that they live, ms. */
const beatMs = 250

const mostTries = 5
const againMs = 200

/** All clients of a run: dials them, keeps their heartbeats, and is broken as soon as one of them is. */
export class Crowd implements Disposable {
  readonly dialect: Dialect
  readonly lines: Line[] = []
  /** How many times a client had to dial again. */
  repeats = 0
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
        const line = await this.#insist(pass, index, reading)
        lines[index] = line
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

  /** As clients do: a server that cannot take them in now is asked again. */
  async #insist(pass: Pass, index: number, reading: boolean): Promise<Line> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#dialOnce(pass, index, reading)
      } catch (error) {
        if (tries === mostTries) throw error
        this.repeats++
        await sleep(tries * againMs)
      }
    }
  }

  async #dialOnce(pass: Pass, index: number, reading: boolean): Promise<Line> {
    const opening = Promise.withResolvers<never>()
    let failed = opening.reject
    const line = await Line.dial({
      endpoint: this.#task.endpoint,
      dialect: this.dialect,
      pass,
      index,
      failed: (error) => failed(error),
      reading,
      from: this.#task.from,
    })
    await Promise.race([this.dialect.open(line), opening.promise])
    failed = this.#break
    return line
  }

  #show(shares: number): void {
    for (let i = this.#beat++ % shares; i < this.lines.length; i += shares) {
      const line = this.lines[i]
      const beat = line && this.dialect.heartbeat?.(line)
      if (beat) line.write(beat)
    }
  }
}
