import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Authority, createAuthority } from '@damon/trust/local-ca'
import * as x509 from '@peculiar/x509'

const hour = 3_600_000
const day = 24 * hour
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

/** What goes wrong with a call: nothing, an answer instead of its own (before or after it took effect), or a cut line. */
export type Mishap = undefined | { status: number; type: string; afterwards?: boolean } | 'cut' | 'cut afterwards'

/** How an authority on a clock of its own is made. */
export interface FakeAuthorityOptions {
  /** Unix ms. */
  now: () => number
  /** Life of the certificates that an order with this profile gets (`''` is none), ms. */
  life: (profile: string) => number
  /** The TXT values of a name, as its validators see them. */
  txt: (name: string) => readonly string[]
  /** Whether it suggests windows (RFC 9773). */
  suggests: boolean
  /** Asked for each signed call. */
  mishap?: (resource: string) => Mishap
  /** Asked for each validation that would succeed. */
  fails?: () => boolean
}

/** A limit that was broken: the client should have known. */
export interface Excess {
  limit: string
  of: string
  at: number
}

interface Order {
  names: string[]
  profile: string
  replaces: string | undefined
  status: 'pending' | 'ready' | 'valid' | 'invalid'
  authorizations: { name: string; wildcard: boolean; token: string; status: 'pending' | 'valid' | 'invalid' }[]
  certificate?: string
  isExempt: boolean
  isRenewal: boolean
}

/** Tokens that come back with time; counted the plain way, so that it does not share a mistake with the client. */
class Bucket {
  readonly #capacity: number
  readonly #refillMs: number
  readonly #spent = new Map<string, { tokens: number; at: number }>()

  constructor(capacity: number, perMs: number) {
    this.#capacity = capacity
    this.#refillMs = perMs / capacity
  }

  has(of: string, now: number): boolean {
    return this.#tokens(of, now) >= 1 - 1e-6
  }

  take(of: string, now: number): void {
    this.#spent.set(of, { tokens: this.#tokens(of, now) - 1, at: now })
  }

  #tokens(of: string, now: number): number {
    const { tokens, at } = this.#spent.get(of) ?? { tokens: this.#capacity, at: now }
    return Math.min(this.#capacity, tokens + (now - at) / this.#refillMs)
  }
}

/**
 * An ACME authority in this process, on any clock: it validates, signs, keeps Let's Encrypt's rate limits and suggests
 * windows as Boulder does (a third of the life before its end, a half under ten days, a hundredth to each side). It does
 * not check signatures: that real clients sign well is tested with a real authority.
 */
export class FakeAuthority implements AsyncDisposable {
  /** Limits that were broken. */
  readonly excesses: Excess[] = []
  /** Certificates that were issued. */
  issued = 0
  /** Those of them that no limit counted: their orders named what they replace, within its window. */
  exempt = 0
  /** All windows open at once: the authority will have to revoke everything. */
  hurries = false
  readonly #options: FakeAuthorityOptions
  readonly #server: Server
  readonly #authority: Authority
  readonly #issuer: x509.X509Certificate
  readonly #key: CryptoKey
  readonly #accounts = new Map<string, string>()
  readonly #orders: Order[] = []
  readonly #chains = new Map<string, string>()
  readonly #known = new Map<string, { notBefore: number; notAfter: number; replaced: boolean }>()
  readonly #sets = new Set<string>()
  readonly #buckets = {
    orders: new Bucket(300, 3 * hour),
    domain: new Bucket(50, 7 * day),
    set: new Bucket(5, 7 * day),
    failures: new Bucket(5, hour),
  }

  private constructor(options: FakeAuthorityOptions, authority: Authority, key: CryptoKey) {
    this.#options = options
    this.#authority = authority
    this.#issuer = new x509.X509Certificate(authority.certificate)
    this.#key = key
    this.#server = createServer((request, response) => {
      this.#serve(request).then(
        (answer) => {
          if (answer === undefined) {
            request.socket.destroy()
            return
          }
          const nonce = randomBytes(9).toString('base64url')
          response.writeHead(answer.status, {
            'replay-nonce': nonce,
            'content-type': 'application/json',
            ...answer.headers,
          })
          response.end(typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body))
        },
        (error: Error) => response.destroy(error),
      )
    })
  }

  /** A running one on a free loopback port. */
  static async start(options: FakeAuthorityOptions): Promise<FakeAuthority> {
    const authority = await createAuthority({
      name: 'Fake authority',
      now: options.now(),
      days: 4000,
      permitted: ['test'],
    })
    const key = await crypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(authority.key), algorithm, false, [
      'sign',
    ])
    const fake = new FakeAuthority(options, authority, key)
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve))
    return fake
  }

  get directoryUrl(): string {
    return `${this.#origin}/directory`
  }

  get #origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    await closed
  }

  async #serve(request: IncomingMessage): Promise<Answer | undefined> {
    const [, resource = '', id = ''] = (request.url ?? '/').split('/')
    const text = await read(request)
    if (resource === 'directory') return { status: 200, body: this.#directory() }
    if (resource === 'nonce') return { status: 200, body: '' }
    const mishap = this.#options.mishap?.(resource)
    if (mishap === 'cut') return undefined
    if (typeof mishap === 'object' && !mishap.afterwards) return problem(mishap.status, mishap.type)
    const answer =
      resource === 'renewal-info' ? this.#renewalInfo(id) : await this.#answer(resource, id, JSON.parse(text))
    if (mishap === 'cut afterwards') return undefined
    return mishap ? problem(mishap.status, mishap.type) : answer
  }

  #directory(): object {
    const at = (resource: string) => `${this.#origin}/${resource}`
    return {
      newNonce: at('nonce'),
      newAccount: at('account'),
      newOrder: at('new-order'),
      revokeCert: at('revoke'),
      keyChange: at('key-change'),
      ...(this.#options.suggests && { renewalInfo: at('renewal-info') }),
    }
  }

  async #answer(resource: string, id: string, jws: { protected: string; payload: string }): Promise<Answer> {
    const header = decode(jws.protected) as { jwk?: object; kid?: string }
    const payload = jws.payload === '' ? {} : decode(jws.payload)
    if (resource === 'account') return this.#account(header)
    if (resource === 'new-order') return this.#newOrder(payload)
    const [number, part] = id.split('-').map(Number)
    if (resource === 'certificate') return { status: 200, body: this.#chains.get(id) ?? '' }
    const order = this.#orders[number ?? -1]
    if (!order) return problem(404, 'malformed')
    if (resource === 'order') return { status: 200, body: this.#orderBody(order, number!) }
    if (resource === 'finalize') return this.#finalize(order, number!, payload)
    const authorization = order.authorizations[part ?? -1]
    if (!authorization) return problem(404, 'malformed')
    if (resource === 'challenge') this.#validate(order, authorization, header.kid ?? '')
    const challenge = {
      type: 'dns-01',
      url: `${this.#origin}/challenge/${id}`,
      token: authorization.token,
      status: authorization.status,
    }
    if (resource === 'challenge') return { status: 200, body: challenge }
    const { status, name, wildcard } = authorization
    return {
      status: 200,
      body: { status, wildcard, identifier: { type: 'dns', value: name }, challenges: [challenge] },
    }
  }

  #account({ jwk }: { jwk?: object }): Answer {
    const { crv, kty, x, y } = jwk as Record<string, string>
    const thumbprint = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
    const url = `${this.#origin}/account/${thumbprint}`
    const isNew = !this.#accounts.has(url)
    this.#accounts.set(url, thumbprint)
    return { status: isNew ? 201 : 200, body: { status: 'valid' }, headers: { location: url } }
  }

  #newOrder(payload: Record<string, unknown>): Answer {
    const now = this.#options.now()
    const names = (payload.identifiers as { value: string }[]).map(({ value }) => value)
    const replaces = typeof payload.replaces === 'string' ? payload.replaces : undefined
    const known = replaces === undefined ? undefined : this.#known.get(replaces)
    if (known?.replaced) return problem(409, 'alreadyReplaced')
    const window = known && this.#window(known)
    const isExempt = window !== undefined && window.start <= now && now <= window.end
    const isRenewal = this.#sets.has(setOf(names))
    const domains = [...new Set(names.map((name) => name.split('.').slice(-2).join('.')))]
    const excess = isExempt
      ? undefined
      : (this.#excess('set', [setOf(names)], now) ??
        this.#excess(
          'failures',
          names.map((name) => name.replace('*.', '')),
          now,
        ) ??
        (isRenewal ? undefined : (this.#excess('orders', ['account'], now) ?? this.#excess('domain', domains, now))))
    if (excess) return { ...problem(429, 'rateLimited'), headers: { 'retry-after': '86400' } }
    if (!isExempt && !isRenewal) this.#buckets.orders.take('account', now)
    const order: Order = {
      names,
      profile: typeof payload.profile === 'string' ? payload.profile : '',
      replaces,
      status: 'pending',
      authorizations: names.map((name) => ({
        name: name.replace('*.', ''),
        wildcard: name.startsWith('*.'),
        token: randomBytes(16).toString('base64url'),
        status: 'pending',
      })),
      isExempt,
      isRenewal,
    }
    const number = this.#orders.push(order) - 1
    const headers = { location: `${this.#origin}/order/${number}` }
    return { status: 201, body: this.#orderBody(order, number), headers }
  }

  #excess(limit: 'orders' | 'domain' | 'set' | 'failures', all: readonly string[], now: number): Excess | undefined {
    const of = all.find((one) => !this.#buckets[limit].has(one, now))
    if (of === undefined) return undefined
    const excess = { limit, of, at: now }
    this.excesses.push(excess)
    return excess
  }

  #orderBody({ status, names, authorizations, certificate }: Order, number: number): object {
    return {
      status,
      identifiers: names.map((value) => ({ type: 'dns', value })),
      authorizations: authorizations.map((_, part) => `${this.#origin}/authorization/${number}-${part}`),
      finalize: `${this.#origin}/finalize/${number}`,
      ...(certificate && { certificate: `${this.#origin}/certificate/${certificate}` }),
    }
  }

  #validate(order: Order, authorization: Order['authorizations'][number], account: string): void {
    if (authorization.status !== 'pending') return
    const { token, name } = authorization
    const expected = createHash('sha256')
      .update(`${token}.${this.#accounts.get(account)}`)
      .digest('base64url')
    const isThere = this.#options.txt(`_acme-challenge.${name}`).includes(expected)
    if (isThere && !this.#options.fails?.()) {
      authorization.status = 'valid'
      if (order.authorizations.every(({ status }) => status === 'valid')) order.status = 'ready'
      return
    }
    authorization.status = 'invalid'
    order.status = 'invalid'
    this.#buckets.failures.take(name, this.#options.now())
  }

  async #finalize(order: Order, number: number, { csr }: Record<string, unknown>): Promise<Answer> {
    if (order.status !== 'ready') return problem(403, 'orderNotReady')
    const now = this.#options.now()
    order.certificate = await this.#sign(order, String(csr), now)
    order.status = 'valid'
    this.issued += 1
    this.#sets.add(setOf(order.names))
    const replaced = order.replaces === undefined ? undefined : this.#known.get(order.replaces)
    if (replaced) replaced.replaced = true
    if (order.isExempt) this.exempt += 1
    else {
      this.#buckets.set.take(setOf(order.names), now)
      const domains = new Set(order.names.map((name) => name.split('.').slice(-2).join('.')))
      if (!order.isRenewal) for (const domain of domains) this.#buckets.domain.take(domain, now)
    }
    return { status: 200, body: this.#orderBody(order, number) }
  }

  async #sign(order: Order, csr: string, now: number): Promise<string> {
    const request = new x509.Pkcs10CertificateRequest(Buffer.from(csr, 'base64url'))
    const notAfter = now + this.#options.life(order.profile)
    const leaf = await x509.X509CertificateGenerator.create({
      issuer: this.#issuer.subjectName,
      subject: [],
      publicKey: request.publicKey,
      signingKey: this.#key,
      signingAlgorithm: algorithm,
      notBefore: new Date(now),
      notAfter: new Date(notAfter),
      extensions: [
        new x509.SubjectAlternativeNameExtension(order.names.map((value) => ({ type: 'dns' as const, value }))),
        await x509.AuthorityKeyIdentifierExtension.create(this.#issuer.publicKey),
      ],
    })
    const chain = `${leaf.toString('pem')}\n${this.#authority.certificate}`
    const keyId = leaf.getExtension(x509.AuthorityKeyIdentifierExtension)!.keyId!
    const serial = Buffer.from(new X509Certificate(chain).serialNumber, 'hex')
    const padded = serial[0]! >= 0x80 ? Buffer.concat([Buffer.of(0), serial]) : serial
    const id = `${Buffer.from(keyId, 'hex').toString('base64url')}.${padded.toString('base64url')}`
    this.#chains.set(id, chain)
    this.#known.set(id, { notBefore: now, notAfter, replaced: false })
    return id
  }

  #window({ notBefore, notAfter }: { notBefore: number; notAfter: number }): { start: number; end: number } {
    const life = notAfter - notBefore
    const middle = notAfter - (life < 10 * day ? life / 2 : life / 3)
    if (this.hurries) return { start: notBefore, end: notBefore + life / 50 }
    return { start: middle - life / 100, end: middle + life / 100 }
  }

  #renewalInfo(id: string): Answer {
    const known = this.#known.get(id)
    if (!known) return problem(404, 'malformed')
    const { start, end } = this.#window(known)
    const suggestedWindow = { start: new Date(start).toISOString(), end: new Date(end).toISOString() }
    return { status: 200, body: { suggestedWindow }, headers: { 'retry-after': '86400' } }
  }
}

interface Answer {
  status: number
  body: object | string
  headers?: Record<string, string>
}

function problem(status: number, type: string): Answer {
  return { status, body: { type: `urn:ietf:params:acme:error:${type}`, detail: 'as the simulation has it' } }
}

function setOf(names: readonly string[]): string {
  return [...names].sort().join(' ')
}

function decode(part: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(part, 'base64url').toString())
}

async function read(stream: AsyncIterable<Buffer>): Promise<string> {
  let text = ''
  for await (const chunk of stream) text += chunk
  return text
}
