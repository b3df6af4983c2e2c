import { damonError } from '@damon/protocol/errors'
import type { Bus, Range, Reading } from './bus.ts'
import { storeCall } from './handlers/store-call.ts'

/** What is reserved for a reading before it is known what it brings, bytes: few bring more. */
const usualBytes = 1024 * 1024

/** A reading that waits for its turn. */
interface Waiting {
  bytes: number
  begin(): void
}

/**
 * What sessions that come back read of the logs. All of them together hold about so many bytes in this worker at most: who
 * comes then waits until others were given theirs.
 */
export class Readings {
  readonly #bus: Pick<Bus, 'read'>
  readonly #bounds: { bytes: number; waitMs: number }
  #waiting: Waiting[] = []
  #held = 0

  /** A reading waits at most `waitMs`. */
  constructor(bus: Pick<Bus, 'read'>, bounds: { bytes: number; waitMs: number }) {
    this.#bus = bus
    this.#bounds = bounds
  }

  /** Bytes that are held, or may be read now. */
  get held(): number {
    return this.#held
  }

  /**
   * Reads at most `bytes` of these ranges, and holds what it brings until `use` is done with it.
   * @throws DamonError `unavailable`, also when it waited too long
   */
  async read<T>(ranges: Range[], bytes: number, use: (reading: Reading) => Promise<T>): Promise<T> {
    let held = Math.min(bytes, usualBytes)
    await this.#turn(held)
    try {
      const reading = await storeCall(this.#bus.read(ranges, bytes))
      const size = reading.batches.reduce((total, { batch }) => total + batch.bytes.length, 0)
      this.#free(held - size)
      held = size
      return await use(reading)
    } finally {
      this.#free(held)
    }
  }

  #turn(bytes: number): Promise<void> {
    if (this.#waiting.length === 0 && this.#fits(bytes)) {
      this.#held += bytes
      return Promise.resolve()
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const timer = setTimeout(() => {
      this.#waiting = this.#waiting.filter((one) => one !== waiting)
      reject(damonError('unavailable', 'Too many sessions come back at a time.'))
      this.#next()
    }, this.#bounds.waitMs)
    const begin = () => {
      clearTimeout(timer)
      resolve()
    }
    const waiting = { bytes, begin }
    this.#waiting.push(waiting)
    return promise
  }

  /** One fits always, however large it may be. */
  #fits(bytes: number): boolean {
    return this.#held === 0 || this.#held + bytes <= this.#bounds.bytes
  }

  #free(bytes: number): void {
    this.#held -= bytes
    this.#next()
  }

  #next(): void {
    while (this.#waiting[0] && this.#fits(this.#waiting[0].bytes)) {
      const { bytes, begin } = this.#waiting.shift() as Waiting
      this.#held += bytes
      begin()
    }
  }
}
