import { backoff } from '@damon/runtime/retry'
import type { Bus, Range, Reading } from './bus.ts'

/** What one reading of holes may bring, bytes; what is beyond is told as missing. */
const readingBytes = 64 * 1024 * 1024

/** How long the log is asked for a hole before it counts as missing, ms: nothing else comes on the channel meanwhile. */
const giveUpMs = 30_000

interface Asked {
  range: Range
  since: number
}

/** Reads from the logs what a worker has lost, all holes of the moment at a time, until the logs have answered. */
export class Repair {
  readonly #bus: Pick<Bus, 'read'>
  readonly #done: (ranges: Range[], reading: Reading) => void
  readonly #backoff = backoff({ baseMs: 100, maxMs: 1_000 })
  #waiting: Asked[] = []
  #reading = false
  #timer: NodeJS.Timeout | undefined

  /** `done` gets every range that was asked for, once. */
  constructor(bus: Pick<Bus, 'read'>, done: (ranges: Range[], reading: Reading) => void) {
    this.#bus = bus
    this.#done = done
  }

  /** Asks for holes. */
  mend(ranges: Range[]): void {
    const since = performance.now()
    for (const range of ranges) this.#waiting.push({ range, since })
    // Whatever else is found in this turn of the loop goes along.
    if (!this.#timer && !this.#reading) queueMicrotask(() => this.#read())
  }

  /** Asks for nothing any more. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#waiting = []
  }

  async #read(): Promise<void> {
    if (this.#reading || this.#waiting.length === 0) return
    const asked = this.#waiting
    this.#waiting = []
    const ranges = asked.map(({ range }) => range)
    this.#reading = true
    let reading: Reading | undefined
    try {
      reading = await this.#bus.read(ranges, readingBytes)
      this.#backoff.reset()
    } catch {
      // It is asked again below: the bus has told elsewhere that it does not answer.
    }
    this.#reading = false
    if (reading) this.#done(ranges, reading)
    else this.#again(asked)
    if (!this.#timer) this.#read()
  }

  #again(asked: Asked[]): void {
    const now = performance.now()
    const over = asked.filter(({ since }) => now - since >= giveUpMs).map(({ range }) => range)
    this.#waiting.push(...asked.filter(({ since }) => now - since < giveUpMs))
    if (this.#waiting.length > 0)
      this.#timer = setTimeout(() => {
        this.#timer = undefined
        this.#read()
      }, this.#backoff.next())
    if (over.length > 0) this.#done(over, { batches: [], missing: over })
  }
}
