import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { DnsServer } from './dns-server.ts'

/** A record as the API returns it; `name` is relative to its zone, `@` is the zone itself. */
export interface DomainRecord {
  id: number
  type: string
  name: string
  data: string
  priority: number | null
  port: number | null
  ttl: number
  weight: number | null
  flags: number | null
  tag: string | null
}

/** What the next calls get instead of their answer. */
export interface Refusal {
  status: number
  /** How many calls are refused. */
  times: number
  /** Only calls with this method; all where nothing is said. */
  method?: string
  headers?: Record<string, string>
  /** The call takes effect all the same: only its answer is lost. */
  afterwards?: boolean
}

/** What the fake is like. */
export interface FakeDigitalOceanOptions {
  zones: readonly string[]
  dns?: Publisher
  token?: string
  /** Unix ms; the limit of calls starts anew each hour of this clock. */
  now?: () => number
}

/** Where records of type TXT become visible. */
type Publisher = Pick<DnsServer, 'addTxt' | 'removeTxt'>

/** Calls in an hour. */
const hourly = 5_000

const refusals: Record<number, { id: string; message: string }> = {
  401: { id: 'Unauthorized', message: 'Unable to authenticate you' },
  404: { id: 'not_found', message: 'The resource you were accessing could not be found.' },
  422: { id: 'unprocessable_entity', message: 'Data needs to end with a dot (.)' },
  429: { id: 'too_many_requests', message: 'API rate limit exceeded.' },
  500: { id: 'server_error', message: 'Unexpected server-side error' },
}

/**
 * The domain routes of DigitalOcean's API v2 over real HTTP: pages of 20 (at most 200), filters by type and full name,
 * relative stored names, its error bodies and rate-limit headers. TXT records are published to a DNS server.
 */
export class FakeDigitalOcean implements AsyncDisposable {
  readonly token: string
  readonly requests: { method: string; path: string; status: number }[] = []
  readonly refusals: Refusal[] = []
  readonly #zones = new Map<string, DomainRecord[]>()
  readonly #dns: Publisher | undefined
  readonly #server: Server
  #lastId = 3_000_000
  /** Calls until the hour is over. */
  remaining = hourly

  readonly #now: () => number
  #resetAt = 0

  constructor(options: FakeDigitalOceanOptions) {
    this.#now = options.now ?? Date.now
    this.token = options.token ?? `dop_v1_${'0123456789abcdef'.repeat(4)}`
    this.#dns = options.dns
    for (const zone of options.zones) this.#zones.set(zone, [])
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch((error: Error) => response.destroy(error))
    })
  }

  /** A running fake on a free loopback port. */
  static async start(options: FakeDigitalOceanOptions): Promise<FakeDigitalOcean> {
    const fake = new FakeDigitalOcean(options)
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve))
    return fake
  }

  /** With the `/v2` that clients expect in it. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/v2`
  }

  /** All records of a zone, oldest first. */
  records(zone: string): readonly DomainRecord[] {
    return this.#zones.get(zone) ?? []
  }

  /** Puts a record there as if somebody else had made it. */
  async seed(zone: string, record: { type: string; name: string; data: string }): Promise<DomainRecord> {
    return this.#create(zone, { ttl: 1800, ...record })
  }

  async #create(zone: string, input: { type: string; name: string; data: string; ttl: number }): Promise<DomainRecord> {
    const suffix = `.${zone}.`
    const name = input.name.endsWith(suffix) ? input.name.slice(0, -suffix.length) : input.name
    const record: DomainRecord = {
      id: ++this.#lastId,
      type: input.type,
      name,
      data: input.data,
      priority: null,
      port: null,
      ttl: input.ttl,
      weight: null,
      flags: null,
      tag: null,
    }
    this.#zones.get(zone)?.push(record)
    if (record.type === 'TXT') await this.#dns?.addTxt(fullName(record.name, zone), record.data)
    return record
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    const method = request.method ?? 'GET'
    const text = await body(request)
    if (this.#now() >= this.#resetAt) {
      this.#resetAt = this.#now() + 3_600_000
      this.remaining = Math.max(this.remaining, hourly)
    }
    const refusal = this.refusals.find((one) => one.times > 0 && (one.method ?? method) === method)
    if (refusal) refusal.times -= 1
    const answer =
      refusal && !refusal.afterwards
        ? failure(refusal.status)
        : this.remaining <= 0
          ? failure(429)
          : request.headers.authorization === `Bearer ${this.token}`
            ? await this.#answer(method, pathname.split('/').slice(2), searchParams, text)
            : failure(401)
    const { status, value } = refusal?.afterwards ? failure(refusal.status) : answer
    this.requests.push({ method, path: request.url ?? '', status })
    this.remaining = Math.max(0, this.remaining - 1)
    response.writeHead(status, {
      'content-type': 'application/json',
      'ratelimit-limit': '5000',
      'ratelimit-remaining': String(this.remaining),
      'ratelimit-reset': String(Math.ceil(this.#resetAt / 1000)),
      ...refusal?.headers,
    })
    response.end(value === undefined ? undefined : JSON.stringify(value))
  }

  async #answer(method: string, path: string[], query: URLSearchParams, text: string): Promise<Answer> {
    const [domains, zone, kind, id, ...more] = path.map(decodeURIComponent)
    if (domains !== 'domains' || more.length > 0) return failure(404)
    if (zone === undefined) {
      const list = [...this.#zones.keys()].map((name) => ({ name, ttl: 1800, zone_file: null }))
      return method === 'GET' ? this.#page('domains', list, query, '/v2/domains') : failure(404)
    }
    const records = this.#zones.get(zone)
    if (!records || kind !== 'records') return failure(404)
    if (id === undefined && method === 'GET') return this.#list(zone, records, query)
    if (id === undefined && method === 'POST') return this.#post(zone, text)
    const record = records.find((one) => String(one.id) === id)
    if (!record) return failure(404)
    if (method === 'GET') return { status: 200, value: { domain_record: record } }
    if (method !== 'DELETE') return failure(404)
    records.splice(records.indexOf(record), 1)
    if (record.type === 'TXT') await this.#dns?.removeTxt(fullName(record.name, zone), record.data)
    return { status: 204 }
  }

  #list(zone: string, records: readonly DomainRecord[], query: URLSearchParams): Answer {
    const [type, name] = [query.get('type'), query.get('name')]
    const found = records
      .filter((one) => type === null || one.type === type)
      .filter((one) => name === null || fullName(one.name, zone) === name)
    return this.#page('domain_records', found, query, `/v2/domains/${zone}/records`)
  }

  async #post(zone: string, text: string): Promise<Answer> {
    const input = parse(text)
    const { type, name, data, ttl = 1800 } = input
    if (typeof type !== 'string' || typeof name !== 'string' || typeof data !== 'string') return failure(422)
    if (typeof ttl !== 'number' || ttl < 30) return failure(422)
    return { status: 201, value: { domain_record: await this.#create(zone, { type, name, data, ttl }) } }
  }

  #page(field: string, all: readonly unknown[], query: URLSearchParams, path: string): Answer {
    const size = Number(query.get('per_page') ?? 20)
    const page = Number(query.get('page') ?? 1)
    if (!Number.isInteger(size) || size < 1 || size > 200 || !Number.isInteger(page) || page < 1) return failure(422)
    const last = Math.max(1, Math.ceil(all.length / size))
    const link = (to: number) => `${new URL(this.url).origin}${path}?page=${to}&per_page=${size}`
    const pages =
      page < last
        ? { next: link(page + 1), last: link(last) }
        : page > 1
          ? { first: link(1), prev: link(page - 1) }
          : undefined
    return {
      status: 200,
      value: {
        [field]: all.slice((page - 1) * size, page * size),
        links: pages ? { pages } : {},
        meta: { total: all.length },
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    await closed
  }
}

interface Answer {
  status: number
  value?: unknown
}

function failure(status: number): Answer {
  return { status, value: refusals[status] ?? { id: 'error', message: `Status ${status}` } }
}

function fullName(name: string, zone: string): string {
  return name === '@' ? zone : `${name}.${zone}`
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch {
    return {}
  }
}

async function body(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request.setEncoding('utf8')) text += chunk
  return text
}
