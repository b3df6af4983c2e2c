import { AsyncLocalStorage } from 'node:async_hooks'
import { Agent } from 'node:https'
import * as acme from 'acme-client'
import { type CertsError, certsError } from './errors.ts'

const answerMs = 30_000
const badNonce = 'urn:ietf:params:acme:error:badNonce'

/** The signal of the attempt that a request belongs to: acme-client has no argument for it. */
const attempt = new AsyncLocalStorage<AbortSignal>()
/** Who trusts what, by origin of the directory: acme-client has one HTTP client for the whole process. */
const agents = new Map<string, Agent>()
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
    if (response.status >= 400 && response.data?.type !== badNonce) throw refusal(url, response, now())
    return response
  }
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
  if (response.status === 429 || kind === 'rateLimited') return certsError('ca_rate_limited', text, { retryAt })
  if (response.status >= 500) return certsError('ca_unavailable', text, { retryAt })
  return certsError('ca_refused', text, { retryAt })
}

/** Unix ms of a Retry-After header, in seconds or as a date (RFC 9110, 10.2.3); at most a week away. */
export function readRetryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined
  const at = /^\d+$/.test(header) ? now + Number(header) * 1000 : Date.parse(header)
  return Number.isFinite(at) ? Math.min(Math.max(at, now), now + 7 * 24 * 3_600_000) : undefined
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
