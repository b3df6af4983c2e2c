import { setTimeout as sleep } from 'node:timers/promises'
import type { Measured } from '../work.ts'
import type { Crowd } from './crowd.ts'

/** How long the last messages may take, ms. */
const quietMs = 10_000

/**
 * Messages at a fixed rate. Each delivery's time counts from the instant at which its message was due, so that a server
 * that stalls is charged for all that had to wait.
 */
export class Pace {
  readonly #crowd: Crowd
  readonly #rate: number
  #times: number[] | undefined
  #late = 0
  #open = 0

  /** `rate` is per second. */
  constructor(crowd: Crowd, rate: number) {
    this.#crowd = crowd
    this.#rate = rate
  }

  /** Messages that one receiver still has to get: `sent` when one is due, `arrived` when some came. */
  receiver(): { sent: (due: number) => void; arrived: (messages: number) => void } {
    const due: number[] = []
    return {
      sent: (at) => {
        due.push(at)
        this.#open++
      },
      arrived: (messages) => {
        const now = performance.now()
        for (const at of due.splice(0, messages)) this.#times?.push(now - at)
        this.#open -= messages
      },
    }
  }

  /** Calls `send` with the instant at which each message is due, for so long, and waits until all has arrived. */
  async run(ms: number, send: (number: number, due: number) => void): Promise<void> {
    await this.#crowd.or(this.#sendFor(ms, send))
    await this.quiet()
  }

  /** Resolves when everything has arrived. */
  async quiet(): Promise<void> {
    for (const began = performance.now(); this.#open > 0; ) {
      if (performance.now() - began > quietMs) throw new Error(`${this.#open} messages did not arrive.`)
      await this.#crowd.or(sleep(1))
    }
  }

  /** The same, with each delivery's time. */
  async measure(ms: number, send: (number: number, due: number) => void): Promise<Measured & { deliveries: number }> {
    const times: number[] = []
    this.#times = times
    this.#late = 0
    await this.run(ms, send)
    this.#times = undefined
    times.sort((a, b) => a - b)
    const percentile = (share: number) =>
      times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? Number.NaN
    return {
      p50Ms: percentile(0.5),
      p99Ms: percentile(0.99),
      p999Ms: percentile(0.999),
      deliveries: times.length,
      // By how much the load generator itself was late: where this is much, the machine was too busy for the rest.
      lateMs: this.#late,
    }
  }

  async #sendFor(ms: number, send: (number: number, due: number) => void): Promise<void> {
    const began = performance.now()
    const count = Math.floor((ms * this.#rate) / 1_000)
    for (let sent = 0; sent < count; ) {
      const now = performance.now()
      for (; sent < count && began + (sent * 1_000) / this.#rate <= now; sent++) {
        const due = began + (sent * 1_000) / this.#rate
        this.#late = Math.max(this.#late, now - due)
        send(sent, due)
      }
      // Without rest: a timer would be late by more than what is measured.
      await new Promise(setImmediate)
    }
  }
}
