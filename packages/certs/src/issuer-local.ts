import type { CertificatePair } from '@damon/trust/envelope'
import { type Authority, createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { z } from 'zod'
import type { Clock } from './clock.ts'
import { certsError } from './errors.ts'
import type { Issuer, Order } from './issuer.ts'
import type { Store } from './store.ts'

const day = 86_400_000
const authorityDays = 3650
const authoritySchema = z.object({ certificate: z.string(), key: z.string(), notAfter: z.number() })

/** An authority of our own, for development: it may sign for localhost, `test` and loopback addresses only. */
export class LocalIssuer implements Issuer {
  /** PEM: who connects must trust this. */
  readonly certificate: string
  readonly #authority: Authority
  readonly #days: number
  readonly #clock: Clock

  private constructor(authority: Authority, days: number, clock: Clock) {
    this.certificate = authority.certificate
    this.#authority = authority
    this.#days = days
    this.#clock = clock
  }

  /** Takes the authority out of the store, or makes one: at first, and when the old one could not sign a full life any more. */
  static async open(options: { name: string; days: number; store: Store; clock: Clock }): Promise<LocalIssuer> {
    const { name, days, store, clock } = options
    const now = clock.now()
    const content = await store.read(`local-authority/${name}`)
    const known = content && authoritySchema.parse(JSON.parse(Buffer.from(content).toString()))
    if (known && known.notAfter > now + days * day) return new LocalIssuer(known, days, clock)
    const made = await createAuthority({ name: `Damon local authority ${name}`, now, days: authorityDays })
    const notAfter = now + authorityDays * day
    await store.write(`local-authority/${name}`, JSON.stringify({ ...made, notAfter }))
    return new LocalIssuer(made, days, clock)
  }

  /** Nothing is kept: signing is one step, and free. */
  async settle(): Promise<void> {}

  /** There is no list that could say so: what is revoked is replaced, and expires. */
  async revoke(): Promise<void> {}

  async issue({ names }: Order, signal: AbortSignal): Promise<CertificatePair> {
    signal.throwIfAborted()
    try {
      return await issueLeaf(this.#authority, { names, now: this.#clock.now(), days: this.#days })
    } catch (error) {
      if (error instanceof RangeError) throw certsError('ca_refused', `${error.message}.`, { cause: error })
      throw error
    }
  }
}
