import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import * as FakeTimers from '@sinonjs/fake-timers'

const realImmediate = setImmediate

/** Time that passes only when nothing else is left to do: hours of a hub's life in seconds of ours. */
export class VirtualTime implements Disposable {
  readonly #clock: ReturnType<typeof FakeTimers.install>
  readonly #random = Math.random
  readonly #crypto = { randomBytes: crypto.randomBytes, randomInt: crypto.randomInt }

  /** Takes over timers, both clocks and chance of this whole process until disposed. */
  constructor(random: () => number) {
    this.#clock = FakeTimers.install({
      now: Date.parse('2026-12-01T00:00:00Z'),
      toFake: [
        ...['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate', 'clearImmediate'],
        ...['Date', 'performance'],
      ] as never,
    })
    Math.random = random
    const below = (bound: number) => Math.floor(random() * bound)
    seize({
      randomBytes: (size: number) => Buffer.from(Array.from({ length: size }, () => below(256))),
      randomInt: (from: number, to?: number) => (to === undefined ? below(from) : from + below(to - from)),
    } as never)
  }

  /** Virtual ms since the beginning. */
  get now(): number {
    return performance.now()
  }

  /** Lets so much time pass, ms; whatever is due happens in its order, with all that follows from it at once. */
  async pass(ms: number): Promise<void> {
    const end = this.now + ms
    await settle()
    let reached = false
    const stop = setTimeout(() => {
      reached = true
    }, ms)
    while (!reached && this.now <= end) {
      this.#clock.next()
      await settle()
    }
    clearTimeout(stop)
  }

  [Symbol.dispose](): void {
    this.#clock.uninstall()
    Math.random = this.#random
    seize(this.#crypto)
  }
}

/** Has all who import from there use these. */
function seize(parts: Pick<typeof crypto, 'randomBytes' | 'randomInt'>): void {
  Object.assign(crypto, parts)
  syncBuiltinESMExports()
}

/** Everything that needs no time has happened: promises, and what streams do in the next tick. */
function settle(): Promise<void> {
  return new Promise((resolve) => realImmediate(() => resolve()))
}
