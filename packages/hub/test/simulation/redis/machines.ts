import type { Random } from '@damon/testkit/random'
import { endRedisWorker, openRedis, type RedisOptions } from '../../../src/bus-redis.ts'
import { ScriptedRedis } from '../../../src/redis/client.ts'
import type { StoreTimes } from '../../../src/store.ts'
import { Crowd } from '../crowd.ts'
import { Line } from '../line.ts'
import { Lines } from '../lines.ts'
import { type Weather, Worker } from '../worker.ts'
import { connectorOver } from './connector.ts'
import { SimulatedRedis, type SimulatedRedisOptions } from './server.ts'

/** Hubs on several machines with one Redis, with the real code of all of them. */
export class Machines {
  readonly crowd: Crowd
  readonly #random: Random
  readonly #weather: Weather
  readonly #times: StoreTimes
  readonly #redis: SimulatedRedis
  /** All connections to Redis. */
  readonly #lines = new Lines()
  /** How the primaries end workers. */
  readonly #control: ScriptedRedis
  #isDown = false

  constructor(options: {
    workers: number
    times: StoreTimes
    random: Random
    weather: Weather
    redis?: SimulatedRedisOptions
  }) {
    const { workers: count, times, random, weather } = options
    this.#times = times
    this.#random = random
    this.#weather = weather
    this.#redis = new SimulatedRedis(options.redis)
    this.#control = new ScriptedRedis(this.#place(new Lines()), 'primary')
    this.#control.redis.connect().catch(() => undefined)
    this.crowd = new Crowd({ count, random, weather, make: (died) => this.#newWorker(died) })
    this.crowd.fill()
  }

  /** What only they can suffer. */
  readonly faults = {
    /** A worker dies, and its primary ends it in the store. The death of a whole machine shows only by the lease. */
    bury: () => {
      if (this.crowd.workers.length === 0) return
      const worker = this.#random.pick(this.crowd.workers)
      const { origin = 0 } = worker
      this.crowd.kill(worker)
      endRedisWorker(this.#control, this.#place(new Lines()), origin).catch(() => undefined)
    },
    /** A connection of somebody to Redis breaks, be it for commands or for what is published. */
    sever: () => {
      if (this.#lines.all.length > 0) this.#random.pick(this.#lines.all).cut()
    },
    /** Redis stands still. */
    stall: () => {
      this.#redis.stand()
      setTimeout(() => this.#redis.move(), this.#random.next() * 3_000)
    },
    /** Redis ends, and comes back with all that it had. */
    restart: () => this.#end(() => undefined),
    /** Redis ends, and comes back with nothing. */
    empty: () => this.#end(() => this.#redis.empty()),
    /** Another one takes its place, which has not all that it had. */
    failover: () => {
      const behind = this.#redis.copy()
      setTimeout(() => this.#end(() => this.#redis.become(behind)), this.#random.next() * 100)
    },
  }

  close(): void {
    this.crowd.end()
    this.#control.redis.disconnect()
  }

  #end(change: () => void): void {
    if (this.#isDown) return
    this.#isDown = true
    this.#redis.forgetWaiting()
    this.#lines.cut()
    change()
    setTimeout(
      () => {
        this.#isDown = false
      },
      100 + this.#random.next() * 2_000,
    )
  }

  #place(lines: Lines): RedisOptions {
    const lay = (): Line | undefined => {
      if (this.#isDown || !lines.live) return undefined
      const line = new Line(() => this.#random.next() * this.#weather.busMs)
      lines.add(line)
      this.#lines.add(line)
      this.#redis.serve(line.far)
      return line
    }
    return { url: 'redis://redis.test', prefix: 'damon:', times: this.#times, Connector: connectorOver(lay) }
  }

  #newWorker(died: () => void): Worker {
    const isLost = () => this.#random.next() < this.#weather.batchLoss
    return new Worker({
      bus: 'redis',
      weather: this.#weather,
      died,
      open: (lines, arrive, events) =>
        openRedis(this.#place(lines), (batch, stamp) => (isLost() ? undefined : arrive(batch, stamp)), {
          ...events,
          change: (change) => (isLost() ? undefined : events.change(change)),
          gone: (sessions) => (isLost() ? undefined : events.gone(sessions)),
        }),
    })
  }
}
