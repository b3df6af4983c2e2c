import type { Secret } from '@damon/runtime/secret'
import { instance } from 'digitalocean-js/src/lib/axios-instance.js'
import { z } from 'zod'
import type { AddressRecords, AddressType } from './addresses.ts'
import type { Clock } from './clock.ts'
import type { Dns } from './dns.ts'
import { type CertsError, certsError } from './errors.ts'
import { patiently } from './patience.ts'
import { readRetryAfter } from './retry-after.ts'

const answerMs = 20_000
/** The least that the API takes; its own servers answer from a cache for that long. */
const ttl = 30
/** The most that the API gives at once. */
const pageSize = 200

const recordPage = z.object({
  domain_records: z.array(
    z.object({ id: z.int(), type: z.string(), name: z.string(), data: z.string(), ttl: z.number() }),
  ),
})
const domainPage = z.object({ domains: z.array(z.object({ name: z.string() })) })
type StoredRecord = z.output<typeof recordPage>['domain_records'][number]

/** With fewer calls left in the hour nothing new is published, so that what is published can still be removed. */
const reservedCalls = 100
/** So long the account's list of zones is believed, ms. */
const zonesMs = 60_000

/** What goes into one call of the API. */
interface Call {
  method: 'GET' | 'POST' | 'DELETE'
  path: string
  query?: Record<string, string | number>
  body?: unknown
}

/** DigitalOcean's API v2 (domains and domain records), through the HTTP client of digitalocean-js. */
export class DigitalOceanDns implements Dns, AddressRecords {
  readonly #token: Secret
  readonly #url: string
  readonly #clock: Clock
  #zones: { names: readonly string[]; until: number } | undefined
  /** What the last answer said of the limit of calls; times are Unix ms. */
  #budget = { remaining: Number.POSITIVE_INFINITY, resetAt: 0 }

  /** `url` includes the `/v2`. */
  constructor(options: { token: Secret; url: string; clock: Clock }) {
    this.#token = options.token
    this.#url = options.url
    this.#clock = options.clock
  }

  async zoneOf(name: string, signal: AbortSignal): Promise<string> {
    const isKnown = this.#zones !== undefined && this.#clock.now() < this.#zones.until
    const zone = isKnown ? longest(this.#zones!.names, name) : undefined
    if (zone !== undefined) return zone
    const domains = await this.#pages('/domains', {}, signal, (page) => domainPage.parse(page).domains)
    const names = domains.map((domain) => domain.name)
    this.#zones = { names, until: this.#clock.now() + zonesMs }
    const found = longest(names, name)
    if (found === undefined) throw certsError('zone_not_found', `${name} lies in none of the ${names.length} zones.`)
    return found
  }

  async addTxt(name: string, value: string, signal: AbortSignal): Promise<void> {
    const { remaining, resetAt } = this.#budget
    if (remaining < reservedCalls && resetAt > this.#clock.now()) {
      throw certsError('dns_rate_limited', `${remaining} calls are left in this hour.`, { retryAt: resetAt })
    }
    const zone = await this.zoneOf(name, signal)
    await patiently(this.#clock, signal, async () => {
      // A lost answer must not become a second record.
      if ((await this.#find(zone, name, value, signal)).length > 0) return
      const body = { type: 'TXT', name: relative(name, zone), data: value, ttl }
      await this.#call({ method: 'POST', path: `/domains/${zone}/records`, body }, signal)
    })
  }

  async removeTxt(name: string, value: string, signal: AbortSignal): Promise<void> {
    const zone = await this.zoneOf(name, signal)
    for (const { id } of await this.#find(zone, name, value, signal)) await this.#remove(zone, id, signal)
  }

  async setAddresses(
    name: string,
    type: AddressType,
    addresses: readonly string[],
    signal: AbortSignal,
  ): Promise<boolean> {
    const zone = await this.zoneOf(name, signal)
    const known = await this.#records(zone, type, name, signal)
    const right = known.filter((record) => addresses.includes(record.data) && record.ttl === ttl)
    const wrong = known.filter((record) => !right.includes(record))
    const missing = addresses.filter((address) => !right.some(({ data }) => data === address))
    // The right address with a longer time to live goes first: there are not two of the same.
    for (const { id, data } of wrong) if (missing.includes(data)) await this.#remove(zone, id, signal)
    for (const data of missing) {
      await patiently(this.#clock, signal, async () => {
        // A lost answer must not become a second record.
        if ((await this.#records(zone, type, name, signal)).some((one) => one.data === data)) return
        const body = { type, name: relative(name, zone), data, ttl }
        await this.#call({ method: 'POST', path: `/domains/${zone}/records`, body }, signal)
      })
    }
    for (const { id, data } of wrong) if (!missing.includes(data)) await this.#remove(zone, id, signal)
    return wrong.length + missing.length > 0
  }

  async #remove(zone: string, id: number, signal: AbortSignal): Promise<void> {
    await patiently(this.#clock, signal, async () => {
      const { status } = await this.#call({ method: 'DELETE', path: `/domains/${zone}/records/${id}` }, signal, [404])
      return status
    })
  }

  async #find(zone: string, name: string, value: string, signal: AbortSignal): Promise<StoredRecord[]> {
    return (await this.#records(zone, 'TXT', name, signal)).filter(({ data }) => data === value)
  }

  async #records(zone: string, type: string, name: string, signal: AbortSignal): Promise<StoredRecord[]> {
    // The filter wants the full name, although records are stored with the relative one.
    const filter = { type, name }
    const records = await this.#pages(
      `/domains/${zone}/records`,
      filter,
      signal,
      (page) => recordPage.parse(page).domain_records,
    )
    const stored = relative(name, zone)
    return records.filter((record) => record.type === type && record.name === stored)
  }

  async #pages<T>(
    path: string,
    filter: Record<string, string>,
    signal: AbortSignal,
    read: (page: unknown) => T[],
  ): Promise<T[]> {
    const all: T[] = []
    for (let page = 1; ; page += 1) {
      const query = { ...filter, per_page: pageSize, page }
      const { data } = await patiently(this.#clock, signal, () => this.#call({ method: 'GET', path, query }, signal))
      const part = understand(path, () => read(data))
      all.push(...part)
      if (part.length < pageSize) return all
    }
  }

  async #call(
    call: Call,
    signal: AbortSignal,
    fine: readonly number[] = [],
  ): Promise<{ status: number; data: unknown }> {
    // The library keeps one token and one address for the whole process: say both with every call instead.
    const answer = await instance
      .request({
        baseURL: this.#url,
        url: call.path,
        method: call.method,
        headers: { Authorization: `Bearer ${this.#token.reveal()}`, 'Content-Type': 'application/json' },
        params: call.query ?? {},
        ...(call.body === undefined ? {} : { data: call.body }),
        maxRedirects: 0,
        proxy: false,
        timeout: answerMs,
        signal: AbortSignal.any([signal, AbortSignal.timeout(answerMs)]),
        validateStatus: () => true,
      })
      .catch((error: { code?: string }) => {
        signal.throwIfAborted()
        // Never the error itself: it carries the request with its token.
        throw certsError('dns_unavailable', `${call.method} ${call.path} failed (${error.code ?? 'no answer'}).`)
      })
    const left = Number(answer.headers['ratelimit-remaining'] ?? Number.NaN)
    if (!Number.isNaN(left))
      this.#budget = { remaining: left, resetAt: Number(answer.headers['ratelimit-reset']) * 1000 }
    if (answer.status < 300 || fine.includes(answer.status)) return { status: answer.status, data: answer.data }
    throw refusal(call, answer.status, answer.data, answer.headers as Record<string, string>, this.#clock.now())
  }
}

const complaint = z.object({ id: z.string(), message: z.string() }).partial()

function refusal(call: Call, status: number, data: unknown, headers: Record<string, string>, now: number): CertsError {
  const { id = '', message = '' } = complaint.safeParse(data).data ?? {}
  const text = `${call.method} ${call.path} answered ${status} ${id}: ${message}`
  const reset = Number(headers['ratelimit-reset']) * 1000
  const retryAt = readRetryAfter(headers['retry-after'], now) ?? (reset > now ? reset : undefined)
  if (status === 429) return certsError('dns_rate_limited', text, { retryAt })
  if (status === 401 || status === 403) return certsError('dns_unauthorized', text)
  return status >= 500 ? certsError('dns_unavailable', text) : certsError('dns_refused', text)
}

function understand<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw certsError('dns_unavailable', `GET ${path} answered something that is no page of the API.`, { cause: error })
  }
}

function longest(zones: readonly string[], name: string): string | undefined {
  const holding = zones.filter((zone) => name === zone || name.endsWith(`.${zone}`))
  return holding.sort((a, b) => b.length - a.length)[0]
}

/** How the API names a record within its zone. */
function relative(name: string, zone: string): string {
  return name === zone ? '@' : name.slice(0, -(zone.length + 1))
}
