import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Gauge, type Registry } from 'prom-client'

/** How often the event loop is asked how late it is, ms. */
const resolutionMs = 20
const quantiles = [0.5, 0.99, 1] as const

/** How late a worker's event loop is, measured all the time. */
export class EventLoop {
  readonly #delays = monitorEventLoopDelay({ resolution: resolutionMs })

  constructor() {
    this.#delays.enable()
  }

  /** The lag that this share of all turns kept below since the last `reset`, seconds. */
  lag(quantile: number): number {
    const { count, max } = this.#delays
    if (count === 0) return 0
    const nanoseconds = quantile === 1 ? max : this.#delays.percentile(quantile * 100)
    // What is measured is the time between two looks.
    return Math.max(0, nanoseconds / 1e9 - resolutionMs / 1_000)
  }

  reset(): void {
    this.#delays.reset()
  }

  stop(): void {
    this.#delays.disable()
  }

  /** Shows it in metrics, of the time since they were last read. */
  register(registry: Registry, worker: string): void {
    const lag = (quantile: number) => this.lag(quantile)
    const reset = () => this.reset()
    new Gauge({
      name: 'damon_hub_event_loop_lag_seconds',
      help: 'How late the event loop of a worker was since the metrics were last read',
      labelNames: ['worker', 'quantile'],
      registers: [registry],
      collect() {
        for (const quantile of quantiles) this.set({ worker, quantile: String(quantile) }, lag(quantile))
        reset()
      },
    })
  }
}
