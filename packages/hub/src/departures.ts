import type { Logger } from '@damon/runtime/logger'
import type { Store } from './store.ts'

/** After this, ends that the store did not confirm are told again, ms. */
const againMs = 1_000

/** Brings the ends of sessions to the store, and those that it did not confirm until it has. */
export class Departures {
  readonly #store: Pick<Store, 'endSession'>
  readonly #log: Logger
  readonly #unconfirmed = new Map<string, 'left' | 'lost'>()
  #timer: NodeJS.Timeout | undefined

  constructor(store: Pick<Store, 'endSession'>, log: Logger) {
    this.#store = store
    this.#log = log
  }

  add(session: string, how: 'left' | 'lost'): void {
    this.#store.endSession(session, how).then(
      () => this.#unconfirmed.delete(session),
      (error) => this.#keep(session, how, error),
    )
  }

  /** What is left is ended by the worker's lease. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#unconfirmed.clear()
  }

  #keep(session: string, how: 'left' | 'lost', error: unknown): void {
    this.#unconfirmed.set(session, how)
    if (this.#timer) return
    this.#log.warn({ err: error }, 'the end of a session is not in the store yet')
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      for (const [unconfirmed, how] of this.#unconfirmed) this.add(unconfirmed, how)
    }, againMs).unref()
  }
}
