import type { Logger } from '@damon/runtime/logger'
import { type Store, sweepMs } from './store.ts'

/**
 * The worker's life in the store: renewed as long as it runs, which also proves that the store answers. A worker whose
 * lease is lost was taken for dead, and MUST end.
 */
export class Lease {
  readonly #log: Logger
  readonly #fenced: () => void
  readonly #changed: (reachable: boolean) => void
  #store: Pick<Store, 'renew' | 'sweep'> | undefined
  #connected = false
  #reachable = false
  #timer: NodeJS.Timeout | undefined

  constructor(options: {
    log: Logger
    /** Called when the lease is lost. */
    fenced: () => void
    /** Called when the store begins or ceases to answer. */
    changed: (reachable: boolean) => void
  }) {
    this.#log = options.log
    this.#fenced = options.fenced
    this.#changed = options.changed
  }

  /** Whether the store answers. */
  get reachable(): boolean {
    return this.#reachable
  }

  /** Begins to renew; resolves when that was tried once. */
  async start(store: Pick<Store, 'renew' | 'sweep'>): Promise<void> {
    this.#store = store
    this.#timer = setInterval(() => this.#keep(store), sweepMs)
    await this.#renew(store)
  }

  /** The line to the store came or went. */
  connected(ok: boolean): void {
    this.#connected = ok
    // Stopped: its own hanging up is no news.
    if (!this.#store) return
    if (ok) this.#renew(this.#store)
    else this.#set(false)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#store = undefined
  }

  #keep(store: Pick<Store, 'renew' | 'sweep'>): void {
    this.#renew(store)
    store.sweep().catch((error) => this.#log.debug({ err: error }, 'the store was not swept'))
  }

  async #renew(store: Pick<Store, 'renew' | 'sweep'>): Promise<void> {
    const held = await store.renew().catch(() => undefined)
    // Stopped meanwhile.
    if (!this.#store) return
    if (held === false) this.#fenced()
    else this.#set(held === true && this.#connected)
  }

  #set(reachable: boolean): void {
    if (reachable === this.#reachable) return
    this.#reachable = reachable
    this.#log[reachable ? 'info' : 'warn'](reachable ? 'the store answers' : 'the store does not answer')
    this.#changed(reachable)
  }
}
