import type { Random } from '@damon/testkit/random'
import type { Arrive, Batch } from '../../src/bus.ts'
import { joinCluster } from '../../src/bus-cluster.ts'
import { EmbeddedHost } from '../../src/embedded/host.ts'
import { openKept } from '../../src/embedded/kept.ts'
import type { StoreTimes } from '../../src/store.ts'
import { Crowd } from './crowd.ts'
import { Line } from './line.ts'
import { log, type Weather, Worker } from './worker.ts'

const auditMs = 1_000

/** The primary's successor, and its workers, begin so late, ms. */
const successionMs = 500

/** A hub of several workers on one machine without Redis, with the real code of all of them. */
export class Machine {
  readonly crowd: Crowd
  readonly #random: Random
  readonly #weather: Weather
  readonly #times: StoreTimes
  #host: EmbeddedHost

  constructor(options: { workers: number; times: StoreTimes; random: Random; weather: Weather }) {
    const { workers: count, times, random, weather } = options
    this.#times = times
    this.#random = random
    this.#weather = weather
    this.#host = this.#newHost()
    this.crowd = new Crowd({ count, random, weather, make: (died) => this.#newWorker(died) })
    this.crowd.fill()
  }

  /** What only it can suffer. */
  readonly faults = {
    /** The primary dies, and all workers with it; what it had in memory is gone. */
    collapse: () => {
      this.crowd.end()
      this.#host[Symbol.dispose]()
      this.#host = this.#newHost()
      setTimeout(() => this.crowd.fill(), successionMs)
    },
  }

  close(): void {
    this.crowd.end()
    this.#host[Symbol.dispose]()
  }

  #newHost(): EmbeddedHost {
    return new EmbeddedHost({ kept: openKept(':memory:'), times: this.#times, log })
  }

  #newWorker(died: () => void): Worker {
    const weather = this.#weather
    const random = this.#random
    const lost = (batch: Batch) => batch.kind === 'message' && random.next() < weather.batchLoss
    let latest = 0
    const lagging = (arrive: Arrive): Arrive => {
      if (weather.batchLag === 0) return arrive
      return (batch, stamp) => {
        latest = Math.max(latest, performance.now() + random.next() * weather.batchLag)
        setTimeout(() => arrive(batch, stamp), latest - performance.now())
      }
    }
    return new Worker({
      bus: 'cluster',
      weather,
      died,
      open: async (lines, arrive, events) => {
        const line = new Line(() => random.next() * weather.busMs)
        lines.add(line)
        this.#host.take(line.far)
        const take = lagging((batch, stamp) => (lost(batch) ? undefined : arrive(batch, stamp)))
        // What a bus that loses batches has to do for the last ones.
        if (weather.batchLoss > 0) {
          const audits = setInterval(() => events.connected(true), auditMs)
          line.near.on('close', () => clearInterval(audits))
        }
        return joinCluster(line.near, take, events)
      },
    })
  }
}
