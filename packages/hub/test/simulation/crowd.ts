import type { Random } from '@damon/testkit/random'
import { Line } from './line.ts'
import type { Weather, Worker } from './worker.ts'

/** A worker's successor begins so late, ms. */
const successionMs = 300

/** So many workers, on whatever machines; one that dies is replaced. */
export class Crowd {
  readonly #random: Random
  readonly #weather: Weather
  readonly #make: (died: () => void) => Worker
  readonly #count: number
  #workers: Worker[] = []
  #shutUntil = 0

  constructor(options: { count: number; random: Random; weather: Weather; make: (died: () => void) => Worker }) {
    this.#random = options.random
    this.#weather = options.weather
    this.#make = options.make
    this.#count = options.count
  }

  /** Those that serve. */
  get workers(): readonly Worker[] {
    return this.#workers.filter((worker) => worker.serves)
  }

  /** A line to any of them, as the shared port gives them out; none while none serves. */
  dial(): Line | undefined {
    const serving = performance.now() < this.#shutUntil ? [] : this.workers
    if (serving.length === 0) return undefined
    const line = new Line(() => this.#random.next() * this.#weather.clientMs, this.#weather.kernelBytes)
    this.#random.pick(serving).accept(line)
    return line
  }

  /** Nobody gets a line for so long, ms. */
  shut(ms: number): void {
    this.#shutUntil = performance.now() + ms
  }

  /** As many as there shall be. */
  fill(): void {
    while (this.#workers.length < this.#count) this.#begin()
  }

  /** Ends one as by SIGKILL; another one takes its place. */
  kill(worker: Worker): void {
    worker.kill()
    this.#replace(worker)
  }

  /** Ends all; nobody takes their place. */
  end(): void {
    for (const worker of this.#workers.splice(0)) worker.kill()
  }

  #replace(worker: Worker): void {
    this.#workers = this.#workers.filter((one) => one !== worker)
    setTimeout(() => {
      if (this.#workers.length < this.#count) this.#begin()
    }, successionMs)
  }

  #begin(): void {
    const worker: Worker = this.#make(() => this.#replace(worker))
    this.#workers.push(worker)
  }
}
