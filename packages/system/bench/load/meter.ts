import { busyMs, cpuMs, familyOf } from '../processes.ts'
import type { Measured } from '../work.ts'

/** Measures what the server uses between its making and now. */
export class Meter {
  /** The server's processes. */
  readonly pids: number[]
  readonly #before: { at: number; server: number; load: number; busy: number }

  /** `pids` as in Task. */
  constructor(pids: readonly number[]) {
    this.pids = familyOf(pids)
    this.#before = this.#look()
  }

  /** The server's CPU for each of `count` things, and how busy everybody was. `ms` is the time that passed. */
  read(count: number): Measured & { ms: number } {
    const before = this.#before
    const after = this.#look()
    const ms = after.at - before.at
    const server = after.server - before.server
    const load = after.load - before.load
    return {
      ms,
      cpuUs: (server * 1_000) / count,
      serverCores: server / ms,
      loadCores: load / ms,
      // What disturbs the measurement: other processes, and other machines on the same hardware.
      otherCores: Math.max(0, after.busy - before.busy - server - load) / ms,
    }
  }

  #look() {
    return { at: performance.now(), server: cpuMs(this.pids), load: cpuMs([process.pid]), busy: busyMs() }
  }
}
