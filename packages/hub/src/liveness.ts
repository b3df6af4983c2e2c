import { silenceFactor } from '@damon/protocol/limits'

/** Whether the other side of a connection is alive and takes what it is sent; times are monotonic ms. */
export class Liveness {
  #bytesRead = -1
  #lastHeard = performance.now()

  /**
   * Why to hang up, if there is a reason; asked several times a heartbeat, every `tickMs`, so that silence is noticed
   * within its bound. `bytesRead` is of the socket; one that is not read on purpose is not silent. `refusesSince`: when it
   * began not to take what it was sent.
   */
  verdict(
    now: number,
    line: {
      bytesRead: number
      paused: boolean
      heartbeatMs: number
      tickMs: number
      refusesSince: number | undefined
    },
  ): 'silent' | 'slow_consumer' | undefined {
    if (line.bytesRead !== this.#bytesRead || line.paused) this.#lastHeard = now
    this.#bytesRead = line.bytesRead
    const bound = line.heartbeatMs * silenceFactor - line.tickMs
    if (now - this.#lastHeard >= bound) return 'silent'
    return line.refusesSince !== undefined && now - line.refusesSince >= bound ? 'slow_consumer' : undefined
  }
}
