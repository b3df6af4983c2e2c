import type { HubControlFrame } from '@damon/protocol/frames'
import { SendNumbers } from './send-numbers.ts'

type Ack = Extract<HubControlFrame, { type: 'ack' }>

/** How long an acknowledgement waits for the next one when its session had one just now, ms. */
export const ackMs = 2

/** Acknowledgements that wait a moment, so that a busy sender gets one for many. */
export class Acks {
  #waiting: Receipts[] = []

  later(receipts: Receipts): void {
    if (this.#waiting.push(receipts) > 1) return
    setTimeout(() => {
      const waiting = this.#waiting
      this.#waiting = []
      for (const one of waiting) one.flush()
    }, ackMs)
  }
}

/** What one session is told of its numbered frames: up to where all of them are settled. */
export class Receipts {
  readonly #acks: Acks
  readonly #to: { send(frame: Ack): void }
  readonly #numbers = new SendNumbers()
  #ack: Ack | undefined
  #told = 0

  constructor(acks: Acks, to: { send(frame: Ack): void }) {
    this.#acks = acks
    this.#to = to
  }

  /** The number that has to come next. */
  get next(): number {
    return this.#numbers.last + 1
  }

  /** Takes the next number; false: it does not follow the one before. */
  begin(number: number): boolean {
    return this.#numbers.begin(number)
  }

  /** All up to this number is in the log. Told at once, or in the next moment if the word before has only just gone. */
  confirm(number: number, origin: number, seq: number): void {
    const settled = this.#numbers.confirm(number)
    if (settled === undefined) return
    const waits = this.#ack !== undefined
    this.#ack = { type: 'ack', number: settled, origin, seq }
    if (waits) return
    if (performance.now() - this.#told >= ackMs) this.flush()
    else this.#acks.later(this)
  }

  /** This number was refused, which settles it as well: who is always refused must not wait for ever. */
  refuse(number: number): void {
    const settled = this.#numbers.refuse(number)
    this.flush()
    if (settled !== undefined) this.#to.send({ type: 'ack', number: settled })
  }

  /** Tells what waits. */
  flush(): void {
    const ack = this.#ack
    if (!ack) return
    this.#ack = undefined
    this.#told = performance.now()
    this.#to.send(ack)
  }
}
