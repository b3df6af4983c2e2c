import { createPrivateKey, X509Certificate } from 'node:crypto'
import type { Logger } from '@damon/runtime/logger'
import type { CertificatePair } from '@damon/trust/envelope'
import type * as acme from 'acme-client'
import { AcmeAccount } from './acme-account.ts'
import { installAcmeTransport, readDirectory, readUrl, trustAuthority, withSignal } from './acme-transport.ts'
import { createRequest } from './certificate-request.ts'
import type { ChallengeRecords } from './challenge-records.ts'
import type { Clock } from './clock.ts'
import { challengeTarget } from './delegation.ts'
import type { Dns } from './dns.ts'
import { asCertsError, CertsError, certsError } from './errors.ts'
import { type Issuer, type Order, type RevocationReason, revocationReasons } from './issuer.ts'
import type { Ledger } from './ledger.ts'
import type { Nameservers } from './nameservers.ts'
import { isFor, type OpenOrder, OpenOrders } from './open-orders.ts'
import { patiently } from './patience.ts'
import { type PropagationTiming, type TxtValue, untilPublished } from './propagation.ts'
import { certificateId, type RenewalWindow, readRenewalInfo } from './renewal-info.ts'
import type { Store } from './store.ts'

/** How long the authority may take to validate, and again to sign. */
const deadlineMs = 120_000
/** So long a directory is believed. */
const directoryMs = 24 * 3_600_000
const pollMs = { first: 250, most: 5_000 } as const
/** With these the test system itself is what fails: it says nothing about the order. */
const notRehearsed = new Set(['ca_unreachable', 'ca_unavailable', 'ca_rate_limited', 'ca_paused'])

/** What an ACME issuer works with. */
export interface AcmeOptions {
  name: string
  directory: string
  email?: string | undefined
  /** PEM, where the directory itself is not under a public authority. */
  ca?: string | undefined
  externalAccount?: { kid: string; key: string } | undefined
  accountKeyDays?: number | undefined
  preferredChain?: string | undefined
  /** The authority's test system. */
  rehearsal?: Issuer | undefined
  ledger: Ledger
  store: Store
  dns: Dns
  nameservers: Nameservers
  records: ChallengeRecords
  timing: PropagationTiming
  clock: Clock
  log: Logger
}

/** An order that was begun: what is kept of it, and how the authority has it. */
interface Begun {
  open: OpenOrder
  state: acme.Order
}

/** A challenge of the order, with the TXT value that answers it. */
interface Task {
  identifier: string
  authorizationUrl: string
  challenge: acme.Authorization['challenges'][number]
  txt: TxtValue
}

/** An authority that speaks ACME (RFC 8555) and validates by DNS-01. */
export class AcmeIssuer implements Issuer {
  readonly #options: AcmeOptions
  readonly #account: AcmeAccount
  readonly #orders: OpenOrders
  #renewalInfoUrl: { url: string | undefined; until: number } | undefined

  constructor(options: AcmeOptions) {
    this.#options = options
    this.#account = new AcmeAccount({ ...options, keyDays: options.accountKeyDays })
    this.#orders = new OpenOrders(options.store, options.name)
    installAcmeTransport(options.clock.now)
    if (options.ca) trustAuthority(options.directory, options.ca)
  }

  issue(order: Order, signal: AbortSignal): Promise<CertificatePair> {
    return withSignal(signal, async () => {
      await this.#options.records.sweep()
      try {
        return await this.#issue(order, signal)
      } catch (error) {
        this.#account.close()
        throw error
      }
    })
  }

  settle(id: string): Promise<void> {
    return this.#orders.forget(id)
  }

  async rehearse(order: Order, signal: AbortSignal): Promise<void> {
    const { rehearsal, log } = this.#options
    if (!rehearsal) return
    try {
      await rehearsal.issue(order, signal)
    } catch (error) {
      signal.throwIfAborted()
      const problem = asCertsError(error)
      log.warn({ certificate: order.id, err: problem }, 'the rehearsal failed')
      if (!notRehearsed.has(problem.code)) {
        throw certsError('rehearsal_failed', problem.message, { cause: problem, retryAt: problem.retryAt })
      }
    } finally {
      await rehearsal.settle(order.id)
    }
  }

  revoke(chain: string, reason: RevocationReason, signal: AbortSignal): Promise<void> {
    return withSignal(signal, async () => {
      const client = await this.#account.client(signal)
      const leaf = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(chain)?.[0] ?? ''
      try {
        await patiently(this.#options.clock, signal, () =>
          client.revokeCertificate(leaf, { reason: revocationReasons[reason] }),
        )
      } catch (error) {
        if (!(error instanceof CertsError) || error.kind !== 'alreadyRevoked') throw error
      }
    })
  }

  renewalInfo(chain: string, signal: AbortSignal): Promise<RenewalWindow | undefined> {
    return withSignal(signal, async () => {
      const url = await this.#renewalInfoAt()
      const id = certificateId(chain)
      if (url === undefined || id === undefined) return undefined
      const { data, retryAfter } = await readUrl(`${url.replace(/\/$/, '')}/${id}`)
      return readRenewalInfo(data, retryAfter, this.#options.clock.now())
    })
  }

  async refusal(order: Order): Promise<{ at: number; message: string } | undefined> {
    const open = await this.#orders.read(order.id)
    if (open?.url !== undefined && isFor(open, order)) return undefined
    const refused = await this.#options.ledger.refusal(kindOf(order, replacedBy(order)))
    return refused && { at: refused.retryAt ?? 0, message: refused.message }
  }

  /** Where the authority tells windows, nothing if it does not: the directory is believed for a day. */
  async #renewalInfoAt(): Promise<string | undefined> {
    const now = this.#options.clock.now()
    if (this.#renewalInfoUrl && now < this.#renewalInfoUrl.until) return this.#renewalInfoUrl.url
    const { renewalInfo } = await readDirectory(this.#options.directory)
    const url = typeof renewalInfo === 'string' ? renewalInfo : undefined
    this.#renewalInfoUrl = { url, until: now + directoryMs }
    return url
  }

  async #issue(order: Order, signal: AbortSignal): Promise<CertificatePair> {
    const { clock, preferredChain } = this.#options
    const client = await this.#account.client(signal)
    const { open, state } = await this.#resume(client, order, signal)
    if (state.status === 'pending') await this.#validate(client, state, signal)
    await order.fence()
    const signed = await this.#finalize(client, state, open.csr, signal)
    const chain = await patiently(clock, signal, () => client.getCertificate(signed, preferredChain))
    return { key: open.key, chain }
  }

  /** Goes on with the order that was begun, or begins one: it is stored with its key before the authority knows of it. */
  async #resume(client: acme.Client, order: Order, signal: AbortSignal): Promise<Begun> {
    const { id, names, keyType, profile, current } = order
    const known = await this.#orders.read(id)
    if (known && isFor(known, order)) {
      if (known.url === undefined) return this.#place(client, order, known, signal, replacedBy(order))
      const state = await this.#look(client, known.url, signal)
      if (state) return { open: known, state }
    }
    // One that came to a certificate and was not forgotten because of a crash has spent what it took.
    if (known && !isKeyOf(known.key, current?.chain)) await this.#options.ledger.refund(known.spent)
    const made = await createRequest(names, keyType)
    const open = { names: [...names], keyType, profile, after: current?.fingerprint, ...made, spent: [] }
    await this.#orders.write(id, open)
    return this.#place(client, order, open, signal, replacedBy(order))
  }

  /** The order as the authority has it, nothing if it is lost or over without a certificate. */
  async #look(client: acme.Client, url: string, signal: AbortSignal): Promise<acme.Order | undefined> {
    try {
      const state = await patiently(this.#options.clock, signal, () => client.getOrder({ url } as acme.Order))
      return state.status === 'invalid' ? undefined : state
    } catch (error) {
      if (error instanceof CertsError && !error.retry) return undefined
      throw error
    }
  }

  async #place(
    client: acme.Client,
    order: Order,
    open: OpenOrder,
    signal: AbortSignal,
    replaces: string | undefined,
  ): Promise<Begun> {
    const { clock, ledger, log } = this.#options
    const isSupported = replaces !== undefined && (await this.#renewalInfoAt()) !== undefined
    await order.fence()
    const spent = await ledger.reserve(kindOf(order, replaces))
    const wish = {
      identifiers: order.names.map((value) => ({ type: 'dns', value })),
      ...(order.profile && { profile: order.profile }),
      ...(isSupported && { replaces }),
    }
    try {
      const state = await patiently(clock, signal, () => client.createOrder(wish))
      const placed = { ...open, url: state.url, spent }
      await this.#orders.write(order.id, placed)
      log.info({ certificate: order.id, order: state.url, replaces }, 'ordered')
      return { open: placed, state }
    } catch (error) {
      await ledger.refund(spent)
      if (!isSupported || !(error instanceof CertsError) || !isReplaced(error)) throw error
      log.info({ certificate: order.id, replaces }, 'it was replaced before: ordering without saying what it replaces')
      return this.#place(client, order, open, signal, undefined)
    }
  }

  async #validate(client: acme.Client, order: acme.Order, signal: AbortSignal): Promise<void> {
    const { records } = this.#options
    const tasks = await this.#tasks(client, order, signal)
    const values = tasks.map((task) => task.txt)
    try {
      await records.publish(values, signal)
      await this.#untilPublished(values, signal)
      const results = await Promise.allSettled(tasks.map((task) => this.#complete(client, task, signal)))
      for (const result of results) if (result.status === 'rejected') throw result.reason
    } finally {
      await records.retract(values)
    }
  }

  async #tasks(client: acme.Client, order: acme.Order, signal: AbortSignal): Promise<Task[]> {
    const { clock, nameservers } = this.#options
    const authorizations = await patiently(clock, signal, () => client.getAuthorizations(order))
    const open = authorizations.filter((authorization) => authorization.status !== 'valid')
    return Promise.all(
      open.map(async ({ url, identifier, challenges }) => {
        const challenge = challenges.find(({ type }) => type === 'dns-01')
        if (!challenge) throw certsError('ca_refused', `${identifier.value} cannot be validated by dns-01.`)
        const value = await client.getChallengeKeyAuthorization(challenge)
        const name = await challengeTarget(`_acme-challenge.${identifier.value}`, nameservers)
        return { identifier: identifier.value, authorizationUrl: url, challenge, txt: { name, value } }
      }),
    )
  }

  async #untilPublished(values: readonly TxtValue[], signal: AbortSignal): Promise<void> {
    const { dns, nameservers, clock, timing } = this.#options
    const zones = new Map<string, TxtValue[]>()
    for (const value of values) {
      const zone = await dns.zoneOf(value.name, signal)
      zones.set(zone, [...(zones.get(zone) ?? []), value])
    }
    const checks = [...zones].map(([zone, list]) =>
      untilPublished({ nameservers, zone, values: list, clock, timing, signal }),
    )
    await Promise.all(checks)
  }

  async #complete(client: acme.Client, task: Task, signal: AbortSignal): Promise<void> {
    const { identifier, authorizationUrl, challenge, txt } = task
    const done = await this.#poll(`${txt.name} was not validated in time.`, signal, async () => {
      const [authorization] = await client.getAuthorizations({ authorizations: [authorizationUrl] } as acme.Order)
      if (authorization?.status !== 'pending') return authorization
      const current = authorization.challenges.find(({ url }) => url === challenge.url)
      if (current?.status === 'pending') await client.completeChallenge(current)
      return undefined
    })
    if (done.status === 'valid') return
    await this.#options.ledger.spend([{ limit: 'failures', of: identifier }])
    const failed = done.challenges.find(({ url }) => url === challenge.url)
    const { detail = done.status } = (failed as { error?: { detail?: string } } | undefined)?.error ?? {}
    throw certsError('challenge_failed', `${txt.name}: ${detail}`)
  }

  /** Reads the state anew before each step, so that a lost answer to "finalize" does no harm. */
  async #finalize(client: acme.Client, order: acme.Order, csr: string, signal: AbortSignal): Promise<acme.Order> {
    const done = await this.#poll(`The order ${order.url} was not signed in time.`, signal, async () => {
      const current = await client.getOrder(order)
      if (current.status === 'valid' || current.status === 'invalid') return current
      if (current.status !== 'ready') return undefined
      const after = await client.finalizeOrder(current, csr)
      return after.status === 'valid' ? after : undefined
    })
    if (done.status === 'valid') return done
    throw certsError('ca_unavailable', `The order ${order.url} became invalid.`)
  }

  async #poll<T>(late: string, signal: AbortSignal, step: () => Promise<T | undefined>): Promise<T> {
    const { clock } = this.#options
    const deadline = clock.now() + deadlineMs
    for (let wait: number = pollMs.first; ; wait = Math.min(wait * 2, pollMs.most)) {
      const result = await patiently(clock, signal, step)
      if (result !== undefined) return result
      if (clock.now() >= deadline) throw certsError('ca_unavailable', late)
      await clock.until(clock.now() + wait, signal)
    }
  }
}

/** The identifier of the certificate that an order of the same authority replaces. */
function replacedBy({ current }: Order): string | undefined {
  return current?.chain === undefined ? undefined : certificateId(current.chain)
}

function isKeyOf(key: string, chain: string | undefined): boolean {
  return chain !== undefined && new X509Certificate(chain).checkPrivateKey(createPrivateKey(key))
}

function kindOf({ names, current }: Order, replaces: string | undefined) {
  const isExempt = replaces !== undefined && current?.isInWindow === true
  return { names, isRenewal: current?.isSame === true, isExempt }
}

/** RFC 9773, 5: an order for it exists already, or it is not the account's any more. */
function isReplaced({ kind }: CertsError): boolean {
  return kind === 'alreadyReplaced' || kind === 'conflict'
}
