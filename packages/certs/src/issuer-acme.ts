import type { Logger } from '@damon/runtime/logger'
import type { CertificatePair } from '@damon/trust/envelope'
import * as acme from 'acme-client'
import { z } from 'zod'
import { installAcmeTransport, trustAuthority, withSignal } from './acme-transport.ts'
import type { ChallengeRecords } from './challenge-records.ts'
import type { Clock } from './clock.ts'
import type { Dns } from './dns.ts'
import { certsError } from './errors.ts'
import type { Issuer, Order } from './issuer.ts'
import type { Nameservers } from './nameservers.ts'
import { patiently } from './patience.ts'
import { type PropagationTiming, type TxtValue, untilPublished } from './propagation.ts'
import type { Store } from './store.ts'

/** How long the authority may take to validate, and again to sign. */
const deadlineMs = 120_000
const pollMs = { first: 250, most: 5_000 } as const
const accountSchema = z.object({ key: z.string() })

/** What an ACME issuer works with. */
export interface AcmeOptions {
  name: string
  directory: string
  email?: string | undefined
  /** PEM, where the directory itself is not under a public authority. */
  ca?: string | undefined
  store: Store
  dns: Dns
  nameservers: Nameservers
  records: ChallengeRecords
  timing: PropagationTiming
  clock: Clock
  log: Logger
}

/** A challenge of the order, with the TXT value that answers it. */
interface Task {
  authorizationUrl: string
  challenge: acme.Authorization['challenges'][number]
  txt: TxtValue
}

/** An authority that speaks ACME (RFC 8555) and validates by DNS-01. */
export class AcmeIssuer implements Issuer {
  readonly #options: AcmeOptions
  #registered: Promise<acme.Client> | undefined

  constructor(options: AcmeOptions) {
    this.#options = options
    installAcmeTransport(options.clock.now)
    if (options.ca) trustAuthority(options.directory, options.ca)
  }

  issue(order: Order, signal: AbortSignal): Promise<CertificatePair> {
    return withSignal(signal, async () => {
      await this.#options.records.sweep()
      try {
        return await this.#issue(order, signal)
      } catch (error) {
        // The account may be what is wrong: the next attempt registers its key again, which is harmless.
        this.#registered = undefined
        throw error
      }
    })
  }

  async #issue({ id, names }: Order, signal: AbortSignal): Promise<CertificatePair> {
    const { clock, log, records } = this.#options
    const client = await this.#client(signal)
    const identifiers = names.map((value) => ({ type: 'dns', value }))
    const order = await patiently(clock, signal, () => client.createOrder({ identifiers }))
    log.info({ certificate: id, order: order.url }, 'ordered')
    const tasks = await this.#tasks(client, order, signal)
    const values = tasks.map((task) => task.txt)
    try {
      await records.publish(values, signal)
      await this.#untilPublished(values, signal)
      for (const task of tasks) await this.#complete(client, task, signal)
    } finally {
      await records.retract(values)
    }
    const key = (await acme.crypto.createPrivateEcdsaKey('P-256')).toString()
    const [, csr] = await acme.crypto.createCsr({ commonName: commonName(names), altNames: [...names] }, key)
    const signed = await this.#finalize(client, order, csr, signal)
    return { key, chain: await patiently(clock, signal, () => client.getCertificate(signed)) }
  }

  /** The client of a registered account; its key is stored before the authority hears of it. */
  #client(signal: AbortSignal): Promise<acme.Client> {
    this.#registered ??= this.#register(signal)
    return this.#registered
  }

  async #register(signal: AbortSignal): Promise<acme.Client> {
    const { name, directory, email, store, clock } = this.#options
    const content = await store.read(`account/${name}`)
    const account = content && accountSchema.parse(JSON.parse(Buffer.from(content).toString()))
    const key = account?.key ?? (await acme.crypto.createPrivateEcdsaKey('P-256')).toString()
    if (!account) await store.write(`account/${name}`, JSON.stringify({ key }))
    const client = new acme.Client({ directoryUrl: directory, accountKey: key })
    const contact = email === undefined ? {} : { contact: [`mailto:${email}`] }
    try {
      await patiently(clock, signal, () => client.createAccount({ termsOfServiceAgreed: true, ...contact }))
    } catch (error) {
      // An account that is there already the library updates, which an authority may refuse when nothing changes.
      if (!isRegistered(client)) throw error
    }
    return client
  }

  async #tasks(client: acme.Client, order: acme.Order, signal: AbortSignal): Promise<Task[]> {
    const authorizations = await patiently(this.#options.clock, signal, () => client.getAuthorizations(order))
    const open = authorizations.filter((authorization) => authorization.status !== 'valid')
    return Promise.all(
      open.map(async ({ url, identifier, challenges }) => {
        const challenge = challenges.find(({ type }) => type === 'dns-01')
        if (!challenge) throw certsError('ca_refused', `${identifier.value} cannot be validated by dns-01.`)
        const value = await client.getChallengeKeyAuthorization(challenge)
        return { authorizationUrl: url, challenge, txt: { name: `_acme-challenge.${identifier.value}`, value } }
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

  async #complete(client: acme.Client, { authorizationUrl, challenge, txt }: Task, signal: AbortSignal): Promise<void> {
    await this.#poll(`${txt.name} was not validated in time.`, signal, async () => {
      const [authorization] = await client.getAuthorizations({ authorizations: [authorizationUrl] } as acme.Order)
      if (authorization?.status === 'valid') return authorization
      const current = authorization?.challenges.find(({ url }) => url === challenge.url)
      if (authorization?.status !== 'pending') {
        const { detail = authorization?.status } = (current as { error?: { detail?: string } } | undefined)?.error ?? {}
        throw certsError('challenge_failed', `${txt.name}: ${detail}`)
      }
      if (current?.status === 'pending') await client.completeChallenge(current)
      return undefined
    })
  }

  /** Reads the state anew before each step, so that a lost answer to "finalize" does no harm. */
  async #finalize(client: acme.Client, order: acme.Order, csr: Buffer, signal: AbortSignal): Promise<acme.Order> {
    return this.#poll(`The order ${order.url} was not signed in time.`, signal, async () => {
      const current = await client.getOrder(order)
      if (current.status === 'valid') return current
      if (current.status === 'invalid') throw certsError('ca_refused', `The order ${order.url} became invalid.`)
      if (current.status === 'ready') await client.finalizeOrder(current, csr)
      return undefined
    })
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

function isRegistered(client: acme.Client): boolean {
  try {
    return client.getAccountUrl() !== ''
  } catch {
    return false
  }
}

/** The first name that fits into a common name (64 characters), which some authorities still want. */
function commonName(names: readonly string[]): string {
  return names.find((name) => name.length <= 64) ?? ''
}
