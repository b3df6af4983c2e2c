import { limits } from '@damon/protocol/limits'
import { z } from 'zod'

/** What one token may send. */
export interface Rate {
  framesPerSecond: number
  bytesPerSecond: number
}

/** The rate of a token that names no class, or one that the hub does not know, where no class `default` is configured. */
export const defaultRate: Rate = { framesPerSecond: limits.framesPerSecond, bytesPerSecond: limits.bytesPerSecond }

const amount = z
  .int()
  .min(1)
  .max(2 ** 30)
const classes = z.record(z.string(), z.strictObject({ framesPerSecond: amount, bytesPerSecond: amount }))

/** Reads rate classes from JSON; that of the name `default` holds for tokens without one. @throws Error when it is not that */
export function parseRates(text: string): ReadonlyMap<string, Rate> {
  return new Map(Object.entries(classes.parse(JSON.parse(text))))
}

/** So that no more than `burstMs` of a rate comes at once, half of that is given at a time, ms. */
const portionMs = limits.burstMs / 2

/** What a token may still send on this worker. The clock is read only when a portion is used up. */
export class Allowance {
  readonly #rate: Rate
  #frames: number
  #bytes: number
  #at: number
  #over: number | undefined

  /** `now` is monotonic ms, as everywhere. */
  constructor(rate: Rate, now: number) {
    this.#rate = rate
    this.#at = now
    this.#frames = (rate.framesPerSecond * portionMs) / 1_000
    this.#bytes = (rate.bytesPerSecond * portionMs) / 1_000
  }

  /** Since when more has come than may, without a pause worth the name. */
  get over(): number | undefined {
    return this.#over
  }

  /** Takes what came; false: for `debtMs` nothing more may be read. */
  take(bytes: number): boolean {
    this.#frames--
    this.#bytes -= bytes
    if (this.#frames >= 0 && this.#bytes >= 0) return true
    const now = performance.now()
    if (this.debtMs(now) === 0) return true
    this.#over ??= now
    return false
  }

  /** For how long nothing more may be read. */
  debtMs(now: number): number {
    const { framesPerSecond, bytesPerSecond } = this.#rate
    const ms = now - this.#at
    const frames = (framesPerSecond * portionMs) / 1_000
    const bytes = (bytesPerSecond * portionMs) / 1_000
    this.#at = now
    this.#frames = Math.min(this.#frames + (framesPerSecond * ms) / 1_000, frames)
    this.#bytes = Math.min(this.#bytes + (bytesPerSecond * ms) / 1_000, bytes)
    if (this.#frames > frames / 2 && this.#bytes > bytes / 2) this.#over = undefined
    return Math.max((-this.#frames * 1_000) / framesPerSecond, (-this.#bytes * 1_000) / bytesPerSecond, 0)
  }
}

/** The allowances of the tokens that are used on this worker: sessions of one token share one. */
export class Rates {
  readonly #classes: ReadonlyMap<string, Rate>
  readonly #allowances = new Map<string, { allowance: Allowance; users: number }>()

  constructor(classes: ReadonlyMap<string, Rate>) {
    this.#classes = classes
  }

  /** How many tokens are used. */
  get size(): number {
    return this.#allowances.size
  }

  /** A session uses a token, until `leave`. */
  join({ jti, rate }: { jti: string; rate?: string | undefined }): Allowance {
    let used = this.#allowances.get(jti)
    if (!used) {
      const known = (rate !== undefined && this.#classes.get(rate)) || this.#classes.get('default') || defaultRate
      used = { allowance: new Allowance(known, performance.now()), users: 0 }
      this.#allowances.set(jti, used)
    }
    used.users++
    return used.allowance
  }

  leave({ jti }: { jti: string }): void {
    const used = this.#allowances.get(jti)
    if (used && --used.users === 0) this.#allowances.delete(jti)
  }
}
