import { limits } from '@damon/protocol/limits'
import type { Source } from './inbox.ts'
import type { Allowance } from './rates.ts'
import type { Restrained } from './restraint.ts'
import type { Tick } from './tick.ts'

/** Why a session is not read now. */
const reasons = { inbox: 1, turn: 2, rate: 4, restraint: 8, bus: 16 } as const

/** In place of reasons, when it is over: nothing can be added to it or taken from it. */
const closed = -1

/** How often it is looked after whoever has much to make good, ms. */
const lookMs = 1_000

/** Lets every session take its turn: who has brought enough in one turn of the event loop is read again in the next. */
export class Turns {
  readonly #tick: Tick
  #waiting: Intake[] = []
  /** Which turn this is. */
  now = 1

  constructor(tick: Tick) {
    this.#tick = tick
    tick.at('read', () => this.#next())
  }

  want(): void {
    this.#tick.want()
  }

  /** It is read again in the next turn. */
  later(intake: Intake): void {
    this.#waiting.push(intake)
  }

  #next(): void {
    this.now++
    if (this.#waiting.length === 0) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const intake of waiting) intake.nextTurn()
  }
}

/** Whose intake it is. */
export interface IntakeOwner {
  /** More comes than the rate allows, for `excessToldMs` now; told once for each time. */
  excessive(retryAfterMs: number): void
  /** The same for `excessMs`. */
  unbearable(): void
}

/** When a session is read and when not: all reasons not to must be gone. */
export class Intake implements Source, Restrained {
  readonly #source: Source
  readonly #owner: IntakeOwner
  readonly #turns: Turns
  #reasons = 0
  #turn = 0
  #frames = 0
  #bytes = 0
  #told = false
  #allowance: Allowance | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(source: Source, options: { owner: IntakeOwner; turns: Turns }) {
    this.#source = source
    this.#owner = options.owner
    this.#turns = options.turns
  }

  /** Whether it is not read now. */
  get paused(): boolean {
    return this.#reasons !== 0
  }

  /** From now on it may bring what this allows. */
  allow(allowance: Allowance): void {
    this.#allowance = allowance
  }

  /** A frame of so many bytes came. */
  took(bytes: number): void {
    const turns = this.#turns
    if (this.#turn !== turns.now) {
      this.#turn = turns.now
      this.#frames = 0
      this.#bytes = 0
      turns.want()
    }
    this.#frames++
    this.#bytes += bytes
    if ((this.#frames >= limits.turnFrames || this.#bytes >= limits.turnBytes) && !(this.#reasons & reasons.turn)) {
      this.#stop(reasons.turn)
      turns.later(this)
    }
    if (this.#allowance && !this.#allowance.take(bytes) && !(this.#reasons & reasons.rate)) {
      this.#stop(reasons.rate)
      this.#payOff()
    }
  }

  nextTurn(): void {
    this.#go(reasons.turn)
  }

  pause(): void {
    this.#stop(reasons.inbox)
  }

  resume(): void {
    this.#go(reasons.inbox)
  }

  hold(): void {
    this.#stop(reasons.restraint)
  }

  release(): void {
    this.#go(reasons.restraint)
  }

  /** The bus does not take what it brings as fast as it brings it. */
  brake(): void {
    this.#stop(reasons.bus)
  }

  releaseBrake(): void {
    this.#go(reasons.bus)
  }

  /** Nothing pauses or resumes the source any more. */
  close(): void {
    clearTimeout(this.#timer)
    this.#reasons = closed
  }

  #payOff(): void {
    const now = performance.now()
    const debtMs = this.#allowance?.debtMs(now) ?? 0
    this.#complain(now - (this.#allowance?.over ?? now), debtMs)
    // What was said may have ended it.
    if (this.#reasons === closed) return
    if (debtMs === 0) this.#go(reasons.rate)
    else this.#timer = setTimeout(() => this.#payOff(), Math.min(Math.ceil(debtMs), lookMs))
  }

  #complain(overMs: number, debtMs: number): void {
    if (overMs < limits.excessToldMs) this.#told = false
    else if (overMs >= limits.excessMs) this.#owner.unbearable()
    else if (!this.#told) {
      this.#told = true
      this.#owner.excessive(Math.ceil(debtMs))
    }
  }

  #stop(reason: number): void {
    if (this.#reasons === 0) this.#source.pause()
    this.#reasons |= reason
  }

  #go(reason: number): void {
    if (this.#reasons === closed || !(this.#reasons & reason)) return
    this.#reasons &= ~reason
    if (this.#reasons === 0) this.#source.resume()
  }
}
