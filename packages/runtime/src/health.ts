import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Registry } from 'prom-client'

/** MUST answer within 2 s: nothing when all is well, else the reason in a few words; to throw or reject also fails. MUST NOT tell secrets. */
export type Check = () => string | undefined | Promise<string | undefined>

/** What must hold before work may be sent to the service, by name; checks may be set and deleted at any time. */
export type Checks = Map<string, Check>

/** Where a health server listens. */
export interface Health extends AsyncDisposable {
  readonly url: string
}

const checkMs = 2_000

/**
 * Serves `/live`, `/ready` and `/metrics` to GET and HEAD; nothing here changes anything. `/ready` is 503 with the failing
 * checks while one fails, `/live` is 503 when `isLive` says no. Rejects if it cannot listen.
 */
export async function startHealth(options: {
  /** 127.0.0.1 where nothing is said. */
  host?: string
  port: number
  checks: ReadonlyMap<string, Check>
  /** The text of Prometheus' format 0.0.4. */
  metrics: () => Promise<string>
  isLive?: () => boolean
  /** Applied to the reasons of failing checks. */
  conceal?: (text: string) => string
}): Promise<Health> {
  const conceal = options.conceal ?? ((text) => text)
  const routes: Record<string, () => Promise<Answer>> = {
    '/live': async () => {
      const live = options.isLive?.() ?? true
      return json(live ? 200 : 503, { live })
    },
    '/ready': async () => {
      const failing = await failingChecks(options.checks, conceal)
      const ready = Object.keys(failing).length === 0
      return json(ready ? 200 : 503, ready ? { ready } : { ready, failing })
    },
    '/metrics': async () => ({ status: 200, type: Registry.PROMETHEUS_CONTENT_TYPE, body: await options.metrics() }),
  }
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (request, response) => {
    answer(routes, request).then(
      (result) => send(response, result),
      () => send(response, json(500, { error: 'failed' })),
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.host ?? '127.0.0.1', resolve)
  })
  const { address, family, port } = server.address() as AddressInfo
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    },
  }
}

interface Answer {
  status: number
  type: string
  body: string
  allow?: string
}

async function answer(routes: Record<string, () => Promise<Answer>>, request: IncomingMessage): Promise<Answer> {
  const path = request.url?.split('?', 1)[0] ?? ''
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined
  if (!route) return json(404, { error: 'not_found' })
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return { ...json(405, { error: 'method_not_allowed' }), allow: 'GET, HEAD' }
  }
  return route()
}

function json(status: number, value: unknown): Answer {
  return { status, type: 'application/json', body: `${JSON.stringify(value)}\n` }
}

function send(response: ServerResponse, { status, type, body, allow }: Answer): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store', ...(allow && { allow }) })
  response.end(body)
}

async function failingChecks(checks: ReadonlyMap<string, Check>, conceal: (text: string) => string) {
  const reasons = await Promise.all(
    [...checks].map(async ([name, check]) => {
      const reason = await outcome(check)
      return reason === undefined ? [] : [[name, conceal(reason)]]
    }),
  )
  return Object.fromEntries(reasons.flat())
}

async function outcome(check: Check): Promise<string | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<string>()
  const timer = setTimeout(() => resolve(`no answer within ${checkMs} ms`), checkMs)
  try {
    return await Promise.race([check(), late])
  } catch (error) {
    return error instanceof Error ? error.message : 'failed'
  } finally {
    clearTimeout(timer)
  }
}
