import type { Settled, Store } from './store.ts'

/** How long a settled request waits for others before the store is told, ms. */
const gatherMs = 500

/** The same where a member was picked for it, which counts as busy until then. */
const pickedMs = 20

/** Tells the store which requests it need not remember, many at a time. What it does not take it forgets by itself. */
export class Settlements {
  readonly #store: Pick<Store, 'settled'>
  #waiting: Settled[] = []
  #timers: { gather?: NodeJS.Timeout; picked?: NodeJS.Timeout } = {}

  constructor(store: Pick<Store, 'settled'>) {
    this.#store = store
  }

  add(settled: Settled): void {
    this.#waiting.push(settled)
    const timers = this.#timers
    if (settled.picked.length > 0) timers.picked ??= setTimeout(() => this.#tell(), pickedMs).unref()
    else timers.gather ??= setTimeout(() => this.#tell(), gatherMs).unref()
  }

  #tell(): void {
    clearTimeout(this.#timers.picked)
    clearTimeout(this.#timers.gather)
    this.#timers = {}
    const waiting = this.#waiting
    this.#waiting = []
    this.#store.settled(waiting).catch(() => undefined)
  }
}
