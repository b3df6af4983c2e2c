import { lookup } from 'node:dns/promises'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIP } from 'node:net'
import { type NodeProbe, type NodeProbed, nodeEvents, nodeProbe } from '@damon/protocol/audio'
import { serviceRecord } from '@damon/protocol/records'
import { deferred } from './deferred.ts'
import type { RequestHandler } from './handlers.ts'
import type { RecordStore } from './records.ts'
import { canonical, isGlobalUnicast } from './unicast-node.ts'

/** What a prober reaches for. */
export interface ProberOptions {
  /** Hosts that may be asked for besides the address from which the hub sees the sidecar. */
  hosts?: readonly string[]
  /** Which addresses may be connected to; default: those of machines on the internet. */
  isAllowed?: (ip: string) => boolean
  /** How long one probe may take, ms; default 5,000. */
  timeoutMs?: number
}

/** A hub on which probes are asked. */
export interface ProbedHub extends Pick<RecordStore, 'get'> {
  handle(event: string, handler: RequestHandler): Disposable
}

/**
 * Answers sidecars that ask whether their audio node can be reached from here: one request for `/version`, without a
 * password, to the address from which the hub sees that sidecar, and to no other. Needs `get:service/sidecar/*`.
 */
export function answerProbes(hub: ProbedHub, options: ProberOptions = {}): Disposable {
  const { hosts = [], isAllowed = isGlobalUnicast, timeoutMs = 5_000 } = options
  return hub.handle(nodeEvents.probe, async (value, { from, session, signal }): Promise<NodeProbed> => {
    const { address } = nodeProbe.parse(value)
    const seen = await seenAddress(hub, `service/${from}/${session}`)
    const own = hosts.includes(address.host)
    const found = await resolve(address.host)
    const target = found.find((ip) => isAllowed(ip) && (own || ip === seen))
    if (target === undefined) return { reached: false, reason: reasonFor(found, isAllowed) }
    return reach(address, target, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]), timeoutMs)
  })
}

async function seenAddress(hub: Pick<RecordStore, 'get'>, key: string): Promise<string | undefined> {
  const record = serviceRecord.safeParse((await hub.get(key))?.value)
  return record.success ? canonical(record.data.address) : undefined
}

async function resolve(host: string): Promise<string[]> {
  if (isIP(host)) return [canonical(host)]
  try {
    return (await lookup(host, { all: true })).map(({ address }) => canonical(address))
  } catch {
    return []
  }
}

function reasonFor(found: readonly string[], isAllowed: (ip: string) => boolean): string {
  if (found.length === 0) return 'its name does not resolve'
  return found.some(isAllowed) ? 'it is not the address that the hub sees' : 'it is no address on the internet'
}

/** Any answer to HTTP proves it; the name is resolved once, so that it cannot be another address the second time. */
function reach(
  { host, port, secure }: NodeProbe['address'],
  ip: string,
  signal: AbortSignal,
  ms: number,
): Promise<NodeProbed> {
  const { promise, resolve: settle } = deferred<NodeProbed>()
  const request = (secure ? httpsRequest : httpRequest)(
    {
      host: ip,
      port,
      path: '/version',
      signal,
      agent: false,
      headers: { Host: hostHeader(host, port) },
      servername: isIP(host) ? '' : host,
    },
    (response) => {
      response.destroy()
      settle({ reached: true })
    },
  )
  request.on('error', (error: NodeJS.ErrnoException) =>
    settle({ reached: false, reason: signal.aborted ? `gives no answer within ${ms} ms` : inWords(error.code) }),
  )
  request.end()
  return promise
}

function hostHeader(host: string, port: number): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
}

function inWords(code = 'no answer'): string {
  return code === 'ECONNREFUSED' ? 'refuses connections' : `cannot be reached (${code})`
}
