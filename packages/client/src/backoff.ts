/** Bounds of the delays between two attempts to connect. */
export interface BackoffBounds {
  /** The first delay is between 0 and this. */
  baseMs: number
  /** No delay is longer. */
  maxMs: number
}

/** Full-jitter backoff: the whole delay is random, so that a crowd that lost its hub does not come back as one. */
export class Backoff {
  readonly #bounds: BackoffBounds
  readonly #random: () => number
  #boundMs: number

  constructor(bounds: BackoffBounds, random: () => number) {
    this.#bounds = bounds
    this.#random = random
    this.#boundMs = bounds.baseMs
  }

  /** Milliseconds until the next attempt: 0 to a bound that doubles with each call. */
  next(): number {
    const ms = this.#random() * Math.min(this.#boundMs, this.#bounds.maxMs)
    this.#boundMs = Math.min(this.#boundMs * 2, this.#bounds.maxMs)
    return Math.round(ms)
  }

  /** Call it after a connection that held. */
  reset(): void {
    this.#boundMs = this.#bounds.baseMs
  }
}
