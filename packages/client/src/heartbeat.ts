import { silenceFactor } from '@damon/protocol/limits'

/** What a connection owes to its heartbeat now. */
export type HeartbeatStep = 'ping' | 'dead' | 'wait'

/** When to ping and when to give up on a connection. Pure: the time, in monotonic ms, comes from outside. */
export class Heartbeat {
  readonly #everyMs: number
  #heardAt: number
  #pingAt: number

  /** `random` (0 to 1) spreads the first pings of clients that came together. */
  constructor(everyMs: number, now: number, random: number) {
    this.#everyMs = everyMs
    this.#heardAt = now
    this.#pingAt = now + random * everyMs
  }

  /** Anything at all came from the other side. */
  heard(now: number): void {
    this.#heardAt = now
  }

  pinged(now: number): void {
    this.#pingAt = now + this.#everyMs
  }

  step(now: number): HeartbeatStep {
    if (now >= this.#deadAt) return 'dead'
    return now >= this.#pingAt ? 'ping' : 'wait'
  }

  /** Milliseconds until there may be something to do. */
  waitMs(now: number): number {
    return Math.max(0, Math.min(this.#pingAt, this.#deadAt) - now)
  }

  get #deadAt(): number {
    return this.#heardAt + this.#everyMs * silenceFactor
  }
}
