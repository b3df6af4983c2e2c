import type { Logger } from '@damon/runtime/logger'
import type { Attempts, Failures } from './attempts.ts'
import type { Clock } from './clock.ts'
import { asCertsError } from './errors.ts'
import type { Issuer } from './issuer.ts'
import type { Metrics } from './metrics.ts'
import { type Due, nextAttempt } from './schedule.ts'
import type { Shelf, StoredCertificate } from './shelf.ts'
import type { Turnstile } from './turnstile.ts'
import type { WantedCertificate } from './wanted.ts'

/** What the renewals of all certificates share. */
export interface RenewalOptions {
  shelf: Shelf
  attempts: Attempts
  clock: Clock
  turnstile: Turnstile
  metrics: Metrics
  log: Logger
  /** Told of each new certificate, after it is stored. */
  issued: (certificate: StoredCertificate) => void
}

/** Keeps one certificate alive: waits until it is due, orders it, stores it, and again. */
export class Renewal {
  readonly wanted: WantedCertificate
  readonly #issuer: Issuer
  readonly #options: RenewalOptions
  #failures: Failures | undefined

  private constructor(
    wanted: WantedCertificate,
    issuer: Issuer,
    options: RenewalOptions,
    failures: Failures | undefined,
  ) {
    this.wanted = wanted
    this.#issuer = issuer
    this.#options = options
    this.#failures = failures
  }

  /** Takes up what the store knows of the certificate. Throws `store_damaged`. */
  static async load(wanted: WantedCertificate, issuer: Issuer, options: RenewalOptions): Promise<Renewal> {
    await options.shelf.load(wanted.id, options.clock.now())
    return new Renewal(wanted, issuer, options, await options.attempts.load(wanted.id))
  }

  get current(): StoredCertificate | undefined {
    return this.#options.shelf.current(this.wanted.id)
  }

  get failures(): Failures | undefined {
    return this.#failures
  }

  /** When the next attempt is due, and why. */
  get due(): Due {
    const { current, wanted } = this
    const namesMatch =
      current !== undefined && sameNames(current.names, wanted.names) && current.issuer === wanted.issuer
    return nextAttempt({ current: current && { ...current, namesMatch }, failures: this.#failures })
  }

  /** Runs until the signal is aborted; a failure never ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, turnstile, metrics, log } = this.#options
    try {
      for (;;) {
        const { at, why } = this.due
        metrics.scheduled(this.wanted.id, this.current, at)
        if (at > clock.now()) log.info({ certificate: this.wanted.id, at: new Date(at), why }, 'next attempt')
        await clock.until(at, signal)
        await turnstile.pass(async () => {
          signal.throwIfAborted()
          // While it waited for its turn, nothing may have changed; but ask again, it costs nothing.
          if (this.due.at <= clock.now()) await this.#attempt(signal)
        })
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  async #attempt(signal: AbortSignal): Promise<void> {
    const { shelf, attempts, clock, metrics, log, issued } = this.#options
    const { id, issuer, names } = this.wanted
    try {
      const pair = await this.#issuer.issue({ id, names }, signal)
      const certificate = await shelf.add(id, pair, { issuer, names }, clock.now())
      this.#failures = undefined
      await attempts.succeeded(id)
      metrics.attempt(id, 'issued')
      const { fingerprint, notAfter } = certificate
      log.info({ certificate: id, fingerprint, notAfter: new Date(notAfter) }, 'issued')
      issued(certificate)
    } catch (error) {
      signal.throwIfAborted()
      const problem = asCertsError(error)
      metrics.attempt(id, problem.code)
      this.#failures = await this.#remember(problem)
      log.error({ certificate: id, failures: this.#failures.count, err: problem }, 'attempt failed')
    }
  }

  async #remember(problem: ReturnType<typeof asCertsError>): Promise<Failures> {
    const { attempts, clock, log } = this.#options
    try {
      return await attempts.failed(this.wanted.id, this.#failures, problem, clock.now())
    } catch (error) {
      // A store that cannot be written must not turn into a loop of orders.
      log.error({ certificate: this.wanted.id, err: error }, 'the failure could not be stored')
      const { code, message, retry, retryAt } = problem
      const count = (this.#failures?.count ?? 0) + 1
      return { count, lastAt: clock.now(), terminal: !retry, retryAt, code, message }
    }
  }
}

function sameNames(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((name) => other.includes(name))
}
