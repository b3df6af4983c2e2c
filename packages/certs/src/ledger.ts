import { z } from 'zod'
import type { Clock } from './clock.ts'
import { type CertsError, certsError } from './errors.ts'
import {
  availableAt,
  type Buckets,
  letsEncryptLimits,
  type OrderKind,
  type Token,
  take,
  tokensOf,
} from './rate-limits.ts'
import type { Store } from './store.ts'

const schema = z.record(z.string(), z.number())

/**
 * What was taken from an authority's limits, counted here from what was done, so that this side refuses before the
 * authority does. It is kept in the store; an authority without known limits has a ledger that never refuses.
 */
export class Ledger {
  readonly #store: Store
  readonly #name: string
  readonly #clock: Clock
  readonly #counts: boolean
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: { store: Store; issuer: string; clock: Clock; counts: boolean }) {
    this.#store = options.store
    this.#name = `ledger/${options.issuer}`
    this.#clock = options.clock
    this.#counts = options.counts
  }

  /** Why an order cannot be made now, with the time when it can; nothing if it can. */
  async refusal(kind: OrderKind): Promise<CertsError | undefined> {
    const { spent, needed } = tokensOf(kind)
    return this.#refusal([...spent, ...needed])
  }

  async #refusal(tokens: readonly Token[]): Promise<CertsError | undefined> {
    if (!this.#counts) return undefined
    const buckets = await this.#read()
    const waits = tokens.map((token) => ({ token, at: availableAt(buckets, token) }))
    const last = waits.sort((a, b) => b.at - a.at)[0]
    if (!last || last.at <= this.#clock.now()) return undefined
    const { capacity, about } = letsEncryptLimits[last.token.limit]
    const detail = `${last.token.of}: ${capacity} ${about} are used up until ${new Date(last.at).toISOString()}.`
    return certsError('limit_reached', detail, { retryAt: Math.ceil(last.at) })
  }

  /** Takes the tokens of an order, or throws `limit_reached` and takes none. Resolves to what was taken. */
  async reserve(kind: OrderKind): Promise<readonly Token[]> {
    if (!this.#counts) return []
    return this.#inTurn(async () => {
      const refusal = await this.refusal(kind)
      if (refusal) throw refusal
      const { spent } = tokensOf(kind)
      await this.#save(take(await this.#read(), spent, this.#clock.now()))
      return spent
    })
  }

  /** Takes the token of a new account, or throws `limit_reached`. */
  async reserveAccount(): Promise<void> {
    if (!this.#counts) return
    await this.#inTurn(async () => {
      const tokens: Token[] = [{ limit: 'accounts', of: 'this address' }]
      const refusal = await this.#refusal(tokens)
      if (refusal) throw refusal
      await this.#save(take(await this.#read(), tokens, this.#clock.now()))
    })
  }

  /** Takes tokens for what has happened. */
  async spend(tokens: readonly Token[]): Promise<void> {
    if (!this.#counts || tokens.length === 0) return
    await this.#inTurn(async () => this.#save(take(await this.#read(), tokens, this.#clock.now())))
  }

  /** Puts tokens back: the order came to nothing. */
  async refund(tokens: readonly Token[]): Promise<void> {
    // The authority counts an order when it is made, whatever becomes of it.
    const back = tokens.filter(({ limit }) => limit !== 'orders')
    if (!this.#counts || back.length === 0) return
    await this.#inTurn(async () => this.#save(take(await this.#read(), back, this.#clock.now(), true)))
  }

  /** Read anew each time: another certs may use the same store. */
  async #read(): Promise<Buckets> {
    const content = await this.#store.read(this.#name)
    return content ? (schema.safeParse(JSON.parse(Buffer.from(content).toString())).data ?? {}) : {}
  }

  #save(buckets: Buckets): Promise<void> {
    return this.#store.write(this.#name, JSON.stringify(buckets))
  }

  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(step)
    this.#turn = done.catch(() => {})
    return done
  }
}
