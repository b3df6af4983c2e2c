import { createServer, request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createAuthority, issueLeaf } from '@damon/trust/local-ca'
import type { Pebble } from './pebble.ts'

/** What a client asks of the authority. */
export type AcmeResource =
  | 'directory'
  | 'nonce'
  | 'account'
  | 'newOrder'
  | 'order'
  | 'authorization'
  | 'challenge'
  | 'finalize'
  | 'certificate'
  | 'revoke'
  | 'keyChange'
  | 'renewalInfo'
  | 'other'

/** A request as the proxy saw it. */
export interface AcmeCall {
  resource: AcmeResource
  method: string
  path: string
  /** What the client signed, where it is JSON. */
  payload: Record<string, unknown> | undefined
  /** What it was answered; 0 for nothing at all. */
  status: number
}

/** What happens to the next calls for a resource instead of their answer. */
export interface Fault {
  resource: AcmeResource
  /** How many calls; once where nothing is said. */
  times?: number
  /** The answer, of the error type where one is given. */
  status?: number
  /** Last part of `urn:ietf:params:acme:error:`. */
  type?: string
  detail?: string
  headers?: Record<string, string>
  /** No answer, the connection is cut. */
  cut?: boolean
  /** The answer comes only after so many ms. */
  slowMs?: number
  /** The call takes effect all the same: only its answer is another. */
  afterwards?: boolean
}

/** A window that "renewalInfo" answers with, Unix ms. */
export interface Window {
  start: number
  end: number
  explanationURL?: string
  retryAfter?: string
}

const resources: readonly [RegExp, AcmeResource][] = [
  [/^\/dir$/, 'directory'],
  [/^\/nonce-plz/, 'nonce'],
  [/^\/(sign-me-up|my-account)/, 'account'],
  [/^\/order-plz/, 'newOrder'],
  [/^\/my-order\//, 'order'],
  [/^\/authZ\//, 'authorization'],
  [/^\/chalZ\//, 'challenge'],
  [/^\/finalize-order\//, 'finalize'],
  [/^\/certZ\//, 'certificate'],
  [/^\/revoke-cert/, 'revoke'],
  [/^\/rollover-account-key/, 'keyChange'],
  [/^\/renewal-info\//, 'renewalInfo'],
]

/**
 * A TLS proxy in front of pebble: it can answer badly, late or not at all, and it adds what this pebble does not know:
 * windows of renewal (RFC 9773) with `replaces`, and profiles.
 */
export interface AcmeProxy extends AsyncDisposable {
  readonly directoryUrl: string
  /** PEM of the authority behind its TLS certificate. */
  readonly ca: string
  readonly calls: AcmeCall[]
  readonly faults: Fault[]
  /** By the identifier of the certificate; `*` for all others. */
  readonly windows: Map<string, Window>
  /** The profiles that orders may name; empty for an authority that has none. */
  readonly profiles: Map<string, string>
  /** Identifiers that an order has replaced already. */
  readonly replaced: Set<string>
  /** Called after each call has taken effect and before its answer goes out. */
  onCall: (call: AcmeCall) => void
}

/** Starts the proxy on a free port. */
export async function startAcmeProxy(pebble: Pick<Pebble, 'directoryUrl' | 'ca'>): Promise<AcmeProxy> {
  const now = Date.now()
  const authority = await createAuthority({ name: 'ACME proxy test CA', now, days: 2 })
  const leaf = await issueLeaf(authority, { names: ['localhost'], now, days: 1 })
  const upstream = new URL(pebble.directoryUrl)
  const proxy: Omit<AcmeProxy, 'directoryUrl' | keyof AsyncDisposable> = {
    ca: authority.certificate,
    calls: [],
    faults: [],
    windows: new Map(),
    profiles: new Map(),
    replaced: new Set(),
    onCall() {},
  }
  const server = createServer({ key: leaf.key, cert: leaf.chain }, async (incoming, outgoing) => {
    const path = incoming.url ?? '/'
    const method = incoming.method ?? 'GET'
    const body = await read(incoming)
    const resource = resources.find(([pattern]) => pattern.test(path))?.[1] ?? 'other'
    const call: AcmeCall = { resource, method, path, payload: payloadOf(body), status: 0 }
    let fault = proxy.faults.find((one) => one.resource === resource)
    if (fault?.slowMs) await sleep(fault.slowMs)
    const isPassed = !fault || fault.afterwards || (!fault.cut && fault.status === undefined)
    const passed = isPassed ? (answerItself(call) ?? (await forward(method, path, body))) : undefined
    // A refused nonce has no effect: the fault waits for the call that has one.
    if (passed?.status === 400 && passed.body.includes('badNonce')) fault = undefined
    if (fault) {
      fault.times = (fault.times ?? 1) - 1
      if (fault.times <= 0) proxy.faults.splice(proxy.faults.indexOf(fault), 1)
    }
    const answer = fault?.cut || fault?.status !== undefined ? faulty(fault, passed?.headers) : passed
    call.status = fault?.cut ? 0 : (answer?.status ?? 0)
    const replaces = call.payload?.replaces
    if (passed?.status === 201 && typeof replaces === 'string') proxy.replaced.add(replaces)
    proxy.calls.push(call)
    proxy.onCall(call)
    if (fault?.cut || !answer) {
      incoming.socket.destroy()
      return
    }
    outgoing.writeHead(answer.status, answer.headers).end(answer.body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const host = `localhost:${(server.address() as AddressInfo).port}`

  function answerItself({ resource, path, payload }: AcmeCall): Answer | undefined {
    if (resource === 'renewalInfo') return renewalInfo(path.split('/').at(-1)!)
    if (resource !== 'newOrder' || !payload) return undefined
    const { profile, replaces } = payload
    if (typeof profile === 'string' && !proxy.profiles.has(profile)) {
      return problem(400, 'invalidProfile', `Profile ${profile} is not recognized`)
    }
    if (typeof replaces === 'string' && proxy.replaced.has(replaces)) {
      return problem(409, 'alreadyReplaced', `${replaces} has been replaced by another order`)
    }
    return undefined
  }

  function renewalInfo(id: string): Answer {
    const window = proxy.windows.get(id) ?? proxy.windows.get('*')
    if (!window) return problem(404, 'malformed', 'no such certificate')
    const { start, end, explanationURL, retryAfter = '21600' } = window
    const suggestedWindow = { start: new Date(start).toISOString(), end: new Date(end).toISOString() }
    return {
      status: 200,
      headers: { 'content-type': 'application/json', 'retry-after': retryAfter },
      body: JSON.stringify({ suggestedWindow, explanationURL }),
    }
  }

  async function forward(method: string, path: string, body: Buffer): Promise<Answer> {
    const answer = await new Promise<Answer>((resolve, reject) => {
      const headers = {
        host,
        'content-type': 'application/jose+json',
        'user-agent': 'damon-test',
        'content-length': body.length,
      }
      request(
        { host: upstream.hostname, port: upstream.port, method, path, headers, ca: pebble.ca, agent: false },
        (response) => {
          read(response).then((content) => {
            const { 'content-length': _, 'transfer-encoding': __, connection: ___, ...kept } = response.headers
            resolve({ status: response.statusCode ?? 502, headers: kept as Record<string, string>, body: content })
          }, reject)
        },
      )
        .on('error', reject)
        .end(body)
    }).catch((error: Error) => problem(502, 'serverInternal', error.message))
    if (path !== '/dir' || answer.status !== 200) return answer
    const directory = JSON.parse(answer.body.toString())
    if (proxy.windows.size > 0) directory.renewalInfo = `https://${host}/renewal-info`
    if (proxy.profiles.size > 0) directory.meta = { ...directory.meta, profiles: Object.fromEntries(proxy.profiles) }
    return { ...answer, body: JSON.stringify(directory) }
  }

  return Object.assign(proxy, {
    directoryUrl: `https://${host}/dir`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    },
  })
}

interface Answer {
  status: number
  headers: Record<string, string>
  body: Buffer | string
}

function faulty({ status = 500, type, detail = 'as the test wants it', headers = {} }: Fault, kept = {}): Answer {
  const nonce = (kept as Record<string, string>)['replay-nonce']
  const made = problem(status, type ?? (status === 429 ? 'rateLimited' : 'serverInternal'), detail)
  return { ...made, headers: { ...made.headers, ...(nonce && { 'replay-nonce': nonce }), ...headers } }
}

function problem(status: number, type: string, detail: string): Answer {
  return {
    status,
    headers: { 'content-type': 'application/problem+json' },
    body: JSON.stringify({ type: `urn:ietf:params:acme:error:${type}`, detail, status }),
  }
}

function payloadOf(body: Buffer): Record<string, unknown> | undefined {
  try {
    const { payload } = JSON.parse(body.toString()) as { payload: string }
    return JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>
  } catch {
    return undefined
  }
}

async function read(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}
