import { AsyncLocalStorage } from 'node:async_hooks'
import { Agent } from 'node:https'
import * as acme from 'acme-client'
import { type CertsError, certsError, type ProblemCode } from './errors.ts'
import { readRetryAfter } from './retry-after.ts'

const answerMs = 30_000
const badNonce = 'urn:ietf:params:acme:error:badNonce'

/** The signal of the attempt that a request belongs to: acme-client has no argument for it. */
const attempt = new AsyncLocalStorage<AbortSignal>()
/** Who trusts what, by origin of the directory: acme-client has one HTTP client for the whole process. */
const agents = new Map<string, Agent>()
/** Nonces that answers have brought and no request has used, by origin. */
const nonces = new Map<string, string[]>()
/** Authorities forget old ones. */
const noncesKept = 8
let installed = false

/** Requests to this origin trust the given CA instead of the public ones. */
export function trustAuthority(directory: string, ca: string): void {
  agents.set(new URL(directory).origin, new Agent({ ca, keepAlive: true }))
}

/** Runs a function whose ACME requests are given up when the signal is aborted. */
export function withSignal<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T> {
  return attempt.run(signal, run)
}

/**
 * Replaces how acme-client speaks HTTP, once for the process. Every request ends within 30 s; a failure becomes a
 * CertsError with its cause, where the library alone would lose the cause of a network error, keep only the text of a
 * refusal, and sleep through any Retry-After.
 */
export function installAcmeTransport(now: () => number): void {
  if (installed) return
  installed = true
  const { axios } = acme
  const plain = axios.create({
    adapter: 'http',
    transformRequest: [],
    transformResponse: [],
    maxRedirects: 0,
    proxy: false,
  })
  Object.assign(axios.defaults, { acmeSettings: { ...settings(axios.defaults), retryMaxAttempts: 0 } })
  axios.defaults.adapter = async (config) => {
    const url = new URL(config.url ?? '')
    // The library asks for a nonce before each request, although each answer has brought one (RFC 8555, 6.5.1).
    const spare = config.method === 'head' ? nonces.get(url.origin)?.pop() : undefined
    if (spare !== undefined) {
      return { data: '', status: 200, statusText: 'OK', headers: { 'replay-nonce': spare }, config }
    }
    const signals = [AbortSignal.timeout(answerMs), attempt.getStore()].filter((signal) => signal !== undefined)
    const response = await plain
      .request({
        ...config,
        adapter: 'http',
        transformRequest: [],
        transformResponse: [],
        validateStatus: () => true,
        responseType: 'text',
        maxContentLength: 1024 * 1024,
        signal: AbortSignal.any(signals),
        ...(agents.has(url.origin) ? { httpsAgent: agents.get(url.origin) } : {}),
      })
      .catch((error: { code?: string; message: string; cause?: unknown }) => {
        attempt.getStore()?.throwIfAborted()
        // The library reads `.config` of what is thrown here and, finding none, lets it pass.
        const detail = `${config.method?.toUpperCase()} ${url.href} failed (${error.code ?? error.message}).`
        throw certsError('ca_unreachable', detail, { cause: error.cause ?? new Error(error.message) })
      })
    response.data = parse(response.data)
    response.config = config
    // With a refused nonce comes the one that the library uses itself.
    if (response.data?.type === badNonce) return response
    if (config.method === 'post') keepNonce(url.origin, response.headers['replay-nonce'])
    if (response.status >= 400) throw refusal(url, response, now())
    return response
  }
}

function keepNonce(origin: string, nonce: unknown): void {
  if (typeof nonce !== 'string') return
  nonces.set(origin, [...(nonces.get(origin) ?? []), nonce].slice(-noncesKept))
}

/** An ACME problem document (RFC 8555, 6.7) or what a server sends in its place. */
interface Problem {
  type?: string
  detail?: string
  subproblems?: { detail?: string; identifier?: { value?: string } }[]
}

function refusal(url: URL, response: { status: number; data: Problem; headers: object }, now: number): CertsError {
  const { type = '', detail = '', subproblems = [] } = response.data ?? {}
  const kind = type.replace('urn:ietf:params:acme:error:', '')
  const parts = subproblems.map((part) => `${part.identifier?.value}: ${part.detail}`)
  const text = `${url.pathname} answered ${response.status} ${kind}: ${[detail, ...parts].join(' ')}`.trimEnd()
  const retryAt = readRetryAfter((response.headers as Record<string, string>)['retry-after'], now)
  const code =
    kind === 'rateLimited' && isPause.test(detail)
      ? 'ca_paused'
      : response.status === 429 || kind === 'rateLimited'
        ? 'ca_rate_limited'
        : response.status >= 500
          ? 'ca_unavailable'
          : (codes[kind] ?? 'ca_refused')
  return certsError(code, text, { retryAt, kind })
}

/** Let's Encrypt answers for a paused name with a link that lifts the pause. */
const isPause = /paused/i

/** Errors of RFC 8555, 6.7 (and of the profiles draft) that have a remedy of their own. */
const codes: Readonly<Record<string, ProblemCode>> = {
  accountDoesNotExist: 'ca_account',
  badCSR: 'ca_refused',
  caa: 'ca_refused_by_caa',
  externalAccountRequired: 'ca_account',
  invalidContact: 'ca_account',
  invalidProfile: 'ca_refused_profile',
  orderNotReady: 'ca_unavailable',
  rejectedIdentifier: 'ca_refused_name',
  serverInternal: 'ca_unavailable',
  unsupportedContact: 'ca_account',
  unsupportedIdentifier: 'ca_refused_name',
  userActionRequired: 'ca_account',
}

function settings(defaults: object): object {
  return (defaults as { acmeSettings: object }).acmeSettings
}

function parse(text: unknown): Problem {
  try {
    return JSON.parse(String(text)) as Problem
  } catch {
    // Certificates come as PEM.
    return text as Problem
  }
}

/** The directory of an authority as it is now. */
export async function readDirectory(url: string): Promise<Record<string, unknown>> {
  const { data } = await readUrl(url)
  if (typeof data === 'object' && data !== null) return data as Record<string, unknown>
  throw certsError('ca_unavailable', `${url} is no directory.`)
}

/** What lies at a URL that needs no signature, and the Retry-After beside it. */
export async function readUrl(url: string): Promise<{ data: unknown; retryAfter: string | undefined }> {
  const { data, headers } = await acme.axios.request({ url, method: 'get', validateStatus: null })
  return { data, retryAfter: headers['retry-after'] as string | undefined }
}
