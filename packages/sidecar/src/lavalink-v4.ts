import { z } from 'zod'
import type { Lavalink, Load, Look } from './lavalink.ts'

/** Where a Lavalink answers: `url` may be https and may have a path prefix; `timeoutMs` bounds each request. */
export interface LavalinkV4Options {
  url: URL
  password: string
  timeoutMs: number
  /** Bytes of one body that are read at most; real ones have less than 8 KiB. */
  maxBytes?: number
}

const count = z.number().nonnegative()
const info = z.object({ version: z.object({ semver: z.string() }), sourceManagers: z.array(z.string()) })
const stats = z.object({
  players: count,
  playingPlayers: count,
  uptime: count,
  memory: z.object({ used: count, reservable: count }),
  cpu: z.object({ systemLoad: count, lavalinkLoad: count }),
})

/** Speaks the REST API of Lavalink 4 (https://lavalink.dev/api/rest), as far as a sidecar needs it. */
export function lavalinkV4({ url, password, timeoutMs, maxBytes = 64 * 1024 }: LavalinkV4Options): Lavalink {
  let version: string | undefined
  let uptime = 0

  async function get(path: string, signal: AbortSignal): Promise<string> {
    const target = new URL(url.pathname.replace(/\/$/, '') + path, url)
    // A redirect is not followed: it would carry the password to wherever it points.
    const response = await fetch(target, { headers: { Authorization: password }, redirect: 'manual', signal })
    const { status } = response
    if (status === 200) {
      const api = response.headers.get('Lavalink-Api-Version')
      if (api !== null && api !== '4') throw new Unusable('foreign', `speaks API version ${api}, not 4`)
      return readText(response, maxBytes)
    }
    await response.body?.cancel()
    if (status === 401 || status === 403) throw new Unusable('refused', `refuses the password (${status})`)
    throw new Unusable(status >= 500 || status === 429 ? 'silent' : 'foreign', `answers ${path} with status ${status}`)
  }

  async function identify(signal: AbortSignal): Promise<string> {
    const text = (await get('/version', signal)).trim()
    if (!/^[\w.+-]{1,64}$/.test(text)) throw new Unusable('foreign', 'answers /version with something else')
    check(info, await get('/v4/info', signal), '/v4/info')
    return text
  }

  async function measure(signal: AbortSignal): Promise<Load> {
    const { memory, cpu, ...rest } = check(stats, await get('/v4/stats', signal), '/v4/stats')
    return {
      players: rest.players,
      playingPlayers: rest.playingPlayers,
      systemLoad: Math.min(cpu.systemLoad, 1),
      lavalinkLoad: Math.min(cpu.lavalinkLoad, 1),
      memoryUsed: memory.used,
      memoryReservable: memory.reservable,
      uptime: rest.uptime,
    }
  }

  return {
    async look(signal): Promise<Look> {
      const limit = AbortSignal.timeout(timeoutMs)
      const either = AbortSignal.any([signal, limit])
      try {
        version ??= await identify(either)
        const load = await measure(either)
        // An uptime that went back means a restart, perhaps as another version.
        if (load.uptime < uptime) version = await identify(either)
        uptime = load.uptime
        return { kind: 'well', version, load }
      } catch (error) {
        signal.throwIfAborted()
        version = undefined
        if (error instanceof Unusable) return { kind: error.kind, reason: error.message }
        if (limit.aborted) return { kind: 'silent', reason: `gives no answer within ${timeoutMs} ms` }
        return { kind: 'silent', reason: inWords(error) }
      }
    },
  }
}

class Unusable extends Error {
  readonly kind: 'refused' | 'foreign' | 'silent'

  constructor(kind: 'refused' | 'foreign' | 'silent', reason: string) {
    super(reason)
    this.kind = kind
  }
}

function check<T>(shape: z.ZodType<T>, text: string, path: string): T {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    throw new Unusable('foreign', `answers ${path} with something that is not JSON`)
  }
  const result = shape.safeParse(body)
  if (result.success) return result.data
  const field = result.error.issues[0]?.path.join('.') || 'the body'
  throw new Unusable('foreign', `answers ${path} with a wrong ${field}`)
}

async function readText(response: Response, maxBytes: number): Promise<string> {
  const pieces: Uint8Array[] = []
  let bytes = 0
  for await (const piece of response.body ?? []) {
    bytes += piece.byteLength
    if (bytes > maxBytes) throw new Unusable('foreign', `sends more than ${maxBytes} bytes`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString('utf8')
}

const words: Record<string, string> = {
  ECONNREFUSED: 'refuses connections',
  ECONNRESET: 'breaks the connection off',
  UND_ERR_SOCKET: 'breaks the connection off',
  ENOTFOUND: 'has a host name that does not resolve',
  EAI_AGAIN: 'has a host name that does not resolve now',
  EHOSTUNREACH: 'cannot be routed to',
  ENETUNREACH: 'cannot be routed to',
  ETIMEDOUT: 'gives no answer',
}

function inWords(error: unknown): string {
  // fetch hides what happened in a chain of causes, and in the errors of an AggregateError.
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const inner: unknown = at instanceof AggregateError ? at.errors[0] : at
    const code = inner instanceof Error && 'code' in inner ? String(inner.code) : undefined
    if (code !== undefined) return words[code] ?? `cannot be asked (${code})`
  }
  return `cannot be asked (${error instanceof Error ? error.name : 'unknown error'})`
}
