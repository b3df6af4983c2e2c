import type { HubControlFrame } from '@damon/protocol/frames'
import { SendNumbers } from './send-numbers.ts'

type Ack = Extract<HubControlFrame, { type: 'ack' }>

/** How long an acknowledgement waits for the next one when its session had one just now, ms. */
export const ackMs = 2

/** How long one waits that nobody waits for: a receiver has done its part once it has answered. */
const patientAckMs = 20

/** Acknowledgements that wait a moment, so that a busy sender gets one for many, or gets it along with something else. */
export class Acks {
  readonly #waiting = new Map<number, Receipts[]>()

  later(receipts: Receipts, ms: number): void {
    const waiting = this.#waiting.get(ms)
    if (waiting) {
      waiting.push(receipts)
      return
    }
    this.#waiting.set(ms, [receipts])
    setTimeout(() => {
      const due = this.#waiting.get(ms)
      this.#waiting.delete(ms)
      for (const one of due ?? []) one.flush()
    }, ms)
  }
}

/** What one session is told of its numbered frames: up to where all of them are settled. */
export class Receipts {
  readonly #acks: Acks
  readonly #to: { send(frame: Ack): void }
  readonly #numbers = new SendNumbers()
  #ack: Ack | undefined
  /** Whether what waits is in no hurry. */
  #patient = false
  #told = -ackMs

  constructor(acks: Acks, to: { send(frame: Ack): void }) {
    this.#acks = acks
    this.#to = to
  }

  /** The number that has to come next. */
  get next(): number {
    return this.#numbers.last + 1
  }

  /** Up to which number all are settled. */
  get settled(): number {
    return this.#numbers.settled
  }

  /** Everything up to this number was settled elsewhere. */
  goOn(done: number): void {
    this.#numbers.goOn(done)
  }

  /** Takes the next number; false: it does not follow the one before. */
  begin(number: number): boolean {
    return this.#numbers.begin(number)
  }

  /**
   * All up to this number is in the log. Told at once, or in the next moment if the word before has only just gone; if
   * nobody waits for it, preferably along with something else.
   */
  confirm(number: number, origin: number, seq: number, patient: boolean): void {
    const settled = this.#numbers.confirm(number)
    if (settled === undefined) return
    const waits = this.#ack !== undefined && (patient || !this.#patient)
    this.#ack = { type: 'ack', number: settled, origin, seq }
    if (waits) return
    this.#patient = patient
    if (patient) this.#acks.later(this, patientAckMs)
    else if (performance.now() - this.#told >= ackMs) this.flush()
    else this.#acks.later(this, ackMs)
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
