import type { Logger } from '@damon/runtime/logger'
import { type Attempts, addFailure, afterRestart, type Failures } from './attempts.ts'
import type { Clock } from './clock.ts'
import { asCertsError, CertsError } from './errors.ts'
import type { Issuer, Order } from './issuer.ts'
import type { Lease, Leases } from './leases.ts'
import type { Metrics } from './metrics.ts'
import { askAgainMs } from './renewal-info.ts'
import type { Revocations } from './revocations.ts'
import { type Due, nextAttempt, nextIssuer } from './schedule.ts'
import type { Shelf, StoredCertificate } from './shelf.ts'
import type { Suggestions } from './suggestions.ts'
import type { Turnstile } from './turnstile.ts'
import type { WantedCertificate } from './wanted.ts'

/** After these the order itself is in doubt: it is rehearsed before the authority counts another failure. */
const rehearsedAfter = new Set(['challenge_failed', 'rehearsal_failed', 'ca_refused', 'ca_refused_name'])

/** An authority that says nothing of windows is asked again after this: it may have learned to. */
const noAnswerMs = 24 * 3_600_000

/** What the renewals of all certificates share. */
export interface RenewalOptions {
  issuer: (name: string) => Issuer
  shelf: Shelf
  attempts: Attempts
  suggestions: Suggestions
  revocations: Pick<Revocations, 'of'>
  leases: Leases
  clock: Clock
  /** How many order at a time. */
  turnstile: Turnstile
  /** How many ask for their window at a time. */
  questions: Turnstile
  metrics: Metrics
  log: Logger
  /** Told of each new certificate, after it is stored. */
  issued: (certificate: StoredCertificate) => void
}

/** Keeps one certificate alive: waits until it is due, orders it, stores it, and again. */
export class Renewal {
  readonly wanted: WantedCertificate
  readonly #options: RenewalOptions
  #failures: Failures | undefined
  /** When the authority is asked for its window next, where that is not stored with the last answer. */
  #askAt = 0
  #wake = Promise.withResolvers<void>()

  private constructor(wanted: WantedCertificate, options: RenewalOptions, failures: Failures | undefined) {
    this.wanted = wanted
    this.#options = options
    this.#failures = failures
  }

  /** Takes up what the store knows of the certificate. Throws `store_damaged`. */
  static async load(wanted: WantedCertificate, options: RenewalOptions): Promise<Renewal> {
    const { id } = wanted
    await options.shelf.load(id, options.clock.now())
    await options.suggestions.load(id)
    return new Renewal(wanted, options, afterRestart(await options.attempts.load(id)))
  }

  get current(): StoredCertificate | undefined {
    return this.#options.shelf.current(this.wanted.id)
  }

  get failures(): Failures | undefined {
    return this.#failures
  }

  /** Which issuer is asked at the next attempt. */
  get issuer(): string {
    const { issuers, fallbackAfter } = this.wanted
    return nextIssuer(issuers, fallbackAfter, this.#failures, this.#options.clock.now())
  }

  /** When the next attempt is due, and why. */
  get due(): Due {
    const { current, wanted } = this
    const { suggestions, revocations } = this.#options
    const revoked = revocations.of(current?.fingerprint) !== undefined
    const failures = this.#failures && {
      ...this.#failures,
      elsewhere: wanted.issuers.some((issuer) => !this.#failures?.refusedBy.includes(issuer)),
    }
    return nextAttempt({
      current: current && { ...current, fits: fits(current, wanted), revoked },
      suggestedAt: suggestions.of(wanted.id, current?.fingerprint)?.at,
      failures,
    })
  }

  /** What would be ordered now. */
  order(fence: Order['fence'] = async () => {}): Order {
    const { current, wanted, issuer } = this
    const { suggestions, clock } = this.#options
    const { id, names, keyType, profile } = wanted
    const window = suggestions.of(id, current?.fingerprint)
    const isInWindow = window !== undefined && window.start <= clock.now() && clock.now() <= window.end
    return {
      id,
      names,
      keyType,
      profile,
      current: current && {
        fingerprint: current.fingerprint,
        isSame: sameNames(current.names, names) && current.issuer === issuer,
        chain: current.issuer === issuer ? current.chain : undefined,
        isInWindow,
      },
      fence,
    }
  }

  /** Something that the decision depends on has changed from outside. */
  refresh(): void {
    this.#wake.resolve()
  }

  /** Runs until the signal is aborted; a failure never ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, turnstile, questions, metrics, log } = this.#options
    const { id } = this.wanted
    let told = ''
    try {
      for (;;) {
        this.#wake = Promise.withResolvers()
        const { at, why } = this.due
        const text = `${at} ${why}`
        if (at > clock.now() && text !== told) log.info({ certificate: id, at: new Date(at), why }, 'next attempt')
        told = text
        metrics.scheduled(id, this.current, at)
        await this.#until(Math.min(at, this.#questionAt()), signal)
        if (this.due.at <= clock.now()) await turnstile.pass(() => this.#attemptOnce(signal))
        else if (this.#questionAt() <= clock.now()) await questions.pass(() => this.#ask(signal))
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  async #until(at: number, signal: AbortSignal): Promise<void> {
    const woken = new AbortController()
    const ended = AbortSignal.any([signal, woken.signal])
    await Promise.race([this.#options.clock.until(at, ended), this.#wake.promise]).finally(() => woken.abort('woken'))
    signal.throwIfAborted()
  }

  /** Never for a certificate that is expired, or about to be replaced anyway (RFC 9773, 4.3). */
  #questionAt(): number {
    const { current } = this
    const { suggestions, clock, issuer } = this.#options
    if (!current || !fits(current, this.wanted) || clock.now() >= current.notAfter || this.#failures) return Infinity
    if (issuer(current.issuer).renewalInfo === undefined) return Infinity
    return Math.max(suggestions.of(this.wanted.id, current.fingerprint)?.askAt ?? 0, this.#askAt)
  }

  async #ask(signal: AbortSignal): Promise<void> {
    const { suggestions, clock, issuer, log } = this.#options
    const { current, wanted } = this
    if (!current) return
    this.#askAt = clock.now() + askAgainMs
    try {
      const window = await issuer(current.issuer).renewalInfo?.(current.chain, signal)
      if (!window) {
        this.#askAt = clock.now() + noAnswerMs
        return
      }
      this.#askAt = 0
      const before = suggestions.of(wanted.id, current.fingerprint)
      const { at, start, end, explanation } = await suggestions.add(wanted.id, current.fingerprint, window)
      if (before?.at === at) return
      log.info({ certificate: wanted.id, at: new Date(at), start, end, explanation }, 'the authority suggests when')
    } catch (error) {
      signal.throwIfAborted()
      log.warn({ certificate: wanted.id, err: asCertsError(error) }, 'the authority does not say when to renew')
    }
  }

  async #attemptOnce(signal: AbortSignal): Promise<void> {
    const { leases, clock, log } = this.#options
    try {
      await using lease = await leases.acquire(this.wanted.id, signal)
      // Another certs may have done it meanwhile: decide again, on what the store says now.
      await this.#reload()
      if (this.due.at <= clock.now()) await this.#attempt(lease, signal)
    } catch (error) {
      signal.throwIfAborted()
      const problem = asCertsError(error)
      log.error({ certificate: this.wanted.id, err: problem }, 'no attempt could be made')
      this.#failures = addFailure(this.#failures, this.issuer, problem, clock.now())
    }
  }

  async #reload(): Promise<void> {
    const { shelf, attempts, suggestions, clock, issued } = this.#options
    const { id } = this.wanted
    const before = this.current?.fingerprint
    const current = await shelf.load(id, clock.now())
    await suggestions.load(id)
    const stored = await attempts.load(id)
    if (current && current.fingerprint !== before) {
      this.#failures = stored
      issued(current)
    } else if (stored && stored.lastAt > (this.#failures?.lastAt ?? 0)) {
      this.#failures = stored
    }
  }

  async #attempt(lease: Lease, signal: AbortSignal): Promise<void> {
    const { attempts, clock, metrics, log, issued } = this.#options
    const { id, names } = this.wanted
    const name = this.issuer
    const issuer = this.#options.issuer(name)
    const held = AbortSignal.any([signal, lease.lost])
    try {
      const order = this.order(lease.fence)
      if (rehearsedAfter.has(this.#failures?.code ?? '')) await issuer.rehearse?.(order, held)
      const pair = await issuer.issue(order, held)
      await lease.fence()
      const certificate = await this.#store(issuer, pair, name)
      this.#failures = undefined
      await attempts.succeeded(id)
      await issuer.settle(id)
      metrics.attempt(id, 'issued')
      const { fingerprint, notAfter } = certificate
      log.info({ certificate: id, issuer: name, names, fingerprint, notAfter: new Date(notAfter) }, 'issued')
      issued(certificate)
    } catch (error) {
      signal.throwIfAborted()
      const problem = asCertsError(lease.lost.aborted ? lease.lost.reason : error)
      metrics.attempt(id, problem.code)
      this.#failures = addFailure(this.#failures, name, problem, clock.now())
      log.error({ certificate: id, issuer: name, failures: this.#failures.count, err: problem }, 'attempt failed')
      if (problem.code === 'lease_lost') return
      // A store that cannot be written must not turn into a loop of orders: what is in memory counts.
      await attempts.save(id, this.#failures).catch((failure) => {
        log.error({ certificate: id, err: failure }, 'the failure could not be stored')
      })
    }
  }

  async #store(issuer: Issuer, pair: Parameters<Shelf['add']>[1], name: string): Promise<StoredCertificate> {
    const { shelf, clock } = this.#options
    const { id, names, keyType, profile } = this.wanted
    try {
      return await shelf.add(id, pair, { issuer: name, names, keyType, profile }, clock.now())
    } catch (error) {
      // Asked for again, the same order would give the same certificate.
      if (error instanceof CertsError && error.code === 'bad_issued') await issuer.settle(id)
      throw error
    }
  }
}

/** Whether a certificate is what is wanted now. */
function fits(current: StoredCertificate, wanted: WantedCertificate): boolean {
  return (
    sameNames(current.names, wanted.names) &&
    wanted.issuers.includes(current.issuer) &&
    current.keyType === wanted.keyType &&
    current.profile === wanted.profile
  )
}

function sameNames(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((name) => other.includes(name))
}
