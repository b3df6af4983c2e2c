import { silenceFactor } from '@damon/protocol/limits'

/** Whether the other side of a connection is alive and takes what it is sent; times are monotonic ms. */
export class Liveness {
  #bytesRead = -1
  #lastHeard = performance.now()
  #slowSince: number | undefined

  /** It did not take something. */
  slow(): void {
    this.#slowSince ??= performance.now()
  }

  /** It takes frames again. */
  moves(): void {
    this.#slowSince = undefined
  }

  /**
   * Why to hang up, if there is a reason; asked several times a heartbeat, every `tickMs`, so that silence is noticed
   * within its bound. `bytesRead` is of the socket; one that is not read on purpose is not silent.
   */
  verdict(
    now: number,
    line: { bytesRead: number; paused: boolean; heartbeatMs: number; tickMs: number },
  ): 'silent' | 'slow_consumer' | undefined {
    if (line.bytesRead !== this.#bytesRead || line.paused) this.#lastHeard = now
    this.#bytesRead = line.bytesRead
    const bound = line.heartbeatMs * silenceFactor - line.tickMs
    if (now - this.#lastHeard >= bound) return 'silent'
    return this.#slowSince !== undefined && now - this.#slowSince >= bound ? 'slow_consumer' : undefined
  }
}
