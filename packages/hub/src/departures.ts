import type { Logger } from '@damon/runtime/logger'
import type { Publisher } from './publisher.ts'
import type { Store } from './store.ts'

/** After this, ends that the store did not confirm are told again, ms. */
const againMs = 1_000

interface Departure {
  session: string
  how: 'left' | 'lost'
  /** Up to which number all its frames are settled. */
  done: () => number
  told: PromiseWithResolvers<void>
}

/** Brings the ends of sessions to the store, and those that it did not confirm until it has. */
export class Departures {
  readonly #store: Pick<Store, 'endSession' | 'release'>
  readonly #publisher: Pick<Publisher, 'confirmed'>
  readonly #log: Logger
  readonly #open = new Map<string, Departure>()
  readonly #unconfirmed = new Set<Departure>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: {
    store: Pick<Store, 'endSession' | 'release'>
    publisher: Pick<Publisher, 'confirmed'>
    log: Logger
  }) {
    this.#store = options.store
    this.#publisher = options.publisher
    this.#log = options.log
  }

  /** A session that left is over. One that is lost can be taken up elsewhere, once nothing of it is under way here. */
  add(session: string, how: 'left' | 'lost', done: () => number): void {
    const departure = { session, how, done, told: Promise.withResolvers<void>() }
    this.#open.set(session, departure)
    this.#tell(departure)
  }

  /** Whether the store has yet to confirm its end. */
  has(session: string): boolean {
    return this.#open.has(session)
  }

  /** Resolves when the store knows of its end, if it has ended here. */
  async settled(session: string): Promise<void> {
    await this.#open.get(session)?.told.promise
  }

  /** Resolves when the store knows of every end so far. */
  async allSettled(): Promise<void> {
    await Promise.all([...this.#open.values()].map(({ told }) => told.promise))
  }

  /** What is left is ended by the worker's lease. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#unconfirmed.clear()
  }

  #tell(departure: Departure): void {
    this.#end(departure).then(
      () => this.#settle(departure),
      (error) => this.#keep(departure, error),
    )
  }

  async #end({ session, how, done }: Departure): Promise<void> {
    if (how === 'left') return this.#store.endSession(session, how)
    await this.#publisher.confirmed()
    await this.#store.release(session, done())
  }

  #settle(departure: Departure): void {
    this.#unconfirmed.delete(departure)
    if (this.#open.get(departure.session) === departure) this.#open.delete(departure.session)
    departure.told.resolve()
  }

  #keep(departure: Departure, error: unknown): void {
    this.#unconfirmed.add(departure)
    if (this.#timer) return
    this.#log.warn({ err: error }, 'the end of a session is not in the store yet')
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      for (const unconfirmed of this.#unconfirmed) this.#tell(unconfirmed)
    }, againMs).unref()
  }
}
