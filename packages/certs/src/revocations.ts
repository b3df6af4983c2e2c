import type { Logger } from '@damon/runtime/logger'
import { z } from 'zod'
import type { Clock } from './clock.ts'
import { asCertsError, certsError } from './errors.ts'
import { type Issuer, type RevocationReason, revocationReasons } from './issuer.ts'
import { retryTable } from './schedule.ts'
import type { StoredCertificate } from './shelf.ts'
import type { Store } from './store.ts'

const reasons = Object.keys(revocationReasons) as [RevocationReason, ...RevocationReason[]]
const schema = z.object({
  id: z.string(),
  fingerprint: z.string(),
  chain: z.string(),
  issuer: z.string(),
  reason: z.enum(reasons),
  notAfter: z.number(),
  /** Unix ms at which the authority confirmed it. */
  doneAt: z.number().optional(),
  attempts: z.int(),
  retryAt: z.number(),
})

/** A certificate that shall not be used any more. */
export type Revocation = z.output<typeof schema>

/** What the revocations work with. */
export interface RevocationsOptions {
  store: Store
  clock: Clock
  log: Logger
  /** The issuer of a name, while it is in the certificates file. */
  issuer: (name: string) => Issuer | undefined
}

/**
 * The certificates that were ordered to be revoked: each is asked for at its authority until that confirms it, or until it
 * has expired. What is revoked stays known meanwhile, so that it is replaced at once.
 */
export class Revocations {
  readonly #options: RevocationsOptions
  readonly #known = new Map<string, Revocation>()
  #wake = Promise.withResolvers<void>()

  private constructor(options: RevocationsOptions) {
    this.#options = options
  }

  /** Takes up what the store knows; what has expired is forgotten. */
  static async load(options: RevocationsOptions): Promise<Revocations> {
    const revocations = new Revocations(options)
    const { store, clock } = options
    for (const name of await store.list('revocation')) {
      const content = await store.read(`revocation/${name}`)
      const revocation = content && schema.safeParse(JSON.parse(Buffer.from(content).toString())).data
      if (revocation && revocation.notAfter > clock.now()) revocations.#known.set(name, revocation)
      else await store.remove(`revocation/${name}`)
    }
    return revocations
  }

  /** What is known of a certificate that was ordered to be revoked. */
  of(fingerprint: string | undefined): Revocation | undefined {
    return fingerprint === undefined ? undefined : this.#known.get(fingerprint)
  }

  /** Orders a certificate to be revoked; durable once it resolves. */
  async add({ id, fingerprint, chain, issuer, notAfter }: StoredCertificate, reason: RevocationReason): Promise<void> {
    await this.#save({ id, fingerprint, chain, issuer, reason, notAfter, attempts: 0, retryAt: 0 })
    this.#options.log.warn({ certificate: id, fingerprint, reason }, 'to be revoked')
    this.#wake.resolve()
  }

  /** Runs until the signal is aborted; what fails is tried again by the table. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    while (!signal.aborted) {
      this.#wake = Promise.withResolvers()
      const now = clock.now()
      const open = [...this.#known.values()].filter(({ doneAt, notAfter }) => doneAt === undefined && notAfter > now)
      for (const revocation of open) if (revocation.retryAt <= now) await this.#attempt(revocation, signal)
      const next = Math.min(...open.map(({ fingerprint }) => this.#known.get(fingerprint)!).map(nextLook))
      const waiting = new AbortController()
      const ended = AbortSignal.any([signal, waiting.signal])
      const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
      const timer = Number.isFinite(next) ? clock.until(next, ended).catch(() => {}) : aborted
      await Promise.race([this.#wake.promise, timer, aborted])
      waiting.abort()
    }
  }

  async #attempt(revocation: Revocation, signal: AbortSignal): Promise<void> {
    const { clock, log, issuer: issuerOf } = this.#options
    const { id, issuer, fingerprint, chain, reason } = revocation
    const attempts = revocation.attempts + 1
    try {
      const authority = issuerOf(issuer)
      // What nobody was asked for is not revoked.
      if (!authority)
        throw certsError('bad_certificates_file', `Issuer ${issuer}, which has to revoke it, is not there.`)
      await authority.revoke(chain, reason, signal)
      await this.#save({ ...revocation, attempts, doneAt: clock.now() })
      log.warn({ certificate: id, fingerprint, reason }, 'revoked')
    } catch (error) {
      if (signal.aborted) return
      const problem = asCertsError(error)
      const wait = retryTable[Math.min(attempts, retryTable.length) - 1]!
      const retryAt = Math.max(clock.now() + wait, problem.retryAt ?? 0)
      this.#known.set(fingerprint, { ...revocation, attempts, retryAt })
      log.error({ certificate: id, fingerprint, attempts, err: problem }, 'not revoked yet')
    }
  }

  async #save(revocation: Revocation): Promise<void> {
    await this.#options.store.write(`revocation/${revocation.fingerprint}`, JSON.stringify(revocation))
    this.#known.set(revocation.fingerprint, revocation)
  }
}

function nextLook({ doneAt, retryAt }: Revocation): number {
  return doneAt === undefined ? retryAt : Number.POSITIVE_INFINITY
}
