import type { HubControlFrame } from '@damon/protocol/frames'
import { SendNumbers } from './send-numbers.ts'

type Ack = Extract<HubControlFrame, { type: 'ack' }>

/** How long an acknowledgement waits for the next one when its session had one just now, ms. */
export const ackMs = 2

/** How long one waits for company that nobody waits for: a write of its own costs more than all else about it, ms. */
export const companyMs = 5

/** A sender that has so many frames settled at a time may wait for room to send more. */
const manyFrames = 64

/** Acknowledgements that wait a moment, so that a busy sender gets one for many, or gets it along with something else. */
export class Acks {
  readonly #queues = [new Queue(ackMs), new Queue(companyMs)] as const

  later(receipts: Receipts, ms: typeof ackMs | typeof companyMs): void {
    this.#queues[ms === ackMs ? 0 : 1].add(receipts)
  }

  forget(receipts: Receipts): void {
    for (const queue of this.#queues) queue.delete(receipts)
  }
}

/** Those who wait equally long, the first to be told first. */
class Queue {
  readonly #ms: number
  /** When each is due, monotonic ms. */
  readonly #due = new Map<Receipts, number>()
  #timer: NodeJS.Timeout | undefined

  constructor(ms: number) {
    this.#ms = ms
  }

  add(receipts: Receipts): void {
    if (this.#due.has(receipts)) return
    this.#due.set(receipts, performance.now() + this.#ms)
    this.#timer ??= setTimeout(() => this.#tell(), this.#ms)
  }

  delete(receipts: Receipts): void {
    this.#due.delete(receipts)
  }

  #tell(): void {
    this.#timer = undefined
    const now = performance.now()
    for (const [receipts, due] of this.#due) {
      if (due > now) {
        this.#timer = setTimeout(() => this.#tell(), Math.ceil(due - now))
        return
      }
      receipts.flush()
    }
  }
}

/** What one session is told of its numbered frames: up to where all of them are settled. */
export class Receipts {
  readonly #acks: Acks
  readonly #to: { send(frame: Ack): void }
  readonly #numbers = new SendNumbers()
  #ack: Ack | undefined
  /** Up to which number its client was told, and when, monotonic ms. */
  #toldNumber = 0
  #told = -ackMs
  /** Whether something was written that the latest one could have gone along with; not when that is the latest itself. */
  #company: 'none' | 'itself' | 'some' = 'none'

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
    this.#toldNumber = done
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
    this.#ack = { type: 'ack', number: settled, origin, seq }
    if (patient || this.#mayWait(settled)) this.#acks.later(this, companyMs)
    else if (performance.now() - this.#told >= ackMs) this.flush()
    else this.#acks.later(this, ackMs)
  }

  /** Who has several frames under way does not wait for each of them; and company is likely where there was some. */
  #mayWait(settled: number): boolean {
    const frames = settled - this.#toldNumber
    return this.#company === 'some' && frames > 1 && frames < manyFrames
  }

  /** This number was refused, which settles it as well: who is always refused must not wait for ever. */
  refuse(number: number): void {
    const settled = this.#numbers.refuse(number)
    this.flush()
    if (settled === undefined) return
    this.#toldNumber = settled
    this.#to.send({ type: 'ack', number: settled })
  }

  /** Something is written to its client: what waits goes along. */
  goAlong(): void {
    if (this.#ack) this.#tell(this.#ack)
    this.#company = this.#company === 'itself' ? 'none' : 'some'
  }

  /** Tells what waits. */
  flush(): void {
    if (!this.#ack) return
    this.#tell(this.#ack)
    this.#company = 'itself'
  }

  #tell(ack: Ack): void {
    this.#ack = undefined
    this.#acks.forget(this)
    this.#toldNumber = ack.number ?? 0
    this.#told = performance.now()
    this.#to.send(ack)
  }
}
