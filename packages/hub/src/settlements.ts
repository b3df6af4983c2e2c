import type { Settled, Store } from './store.ts'

/** How long a settled request waits for others before the store is told, ms. */
const gatherMs = 20

/** Tells the store which requests it need not remember, many at a time. What it does not take it forgets by itself. */
export class Settlements {
  readonly #store: Pick<Store, 'settled'>
  #waiting: Settled[] = []

  constructor(store: Pick<Store, 'settled'>) {
    this.#store = store
  }

  add(settled: Settled): void {
    if (this.#waiting.push(settled) > 1) return
    setTimeout(() => {
      const waiting = this.#waiting
      this.#waiting = []
      this.#store.settled(waiting).catch(() => undefined)
    }, gatherMs).unref()
  }
}
