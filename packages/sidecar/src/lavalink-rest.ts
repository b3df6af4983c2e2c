import { failureClass } from '@damon/protocol/audio'
import { z } from 'zod'
import type { Lavalink, Load, Look, TrackLoad } from './lavalink.ts'
import { get, inWords, type LavalinkPlace, Unusable } from './lavalink-http.ts'
import { readPlannerStatus } from './planner-status.ts'

/** Where a Lavalink answers, and how long it may take, ms. */
export interface LavalinkRestOptions extends LavalinkPlace {
  /** One look. */
  timeoutMs: number
  /** One load of a track, which asks YouTube, perhaps several times; default 20,000. */
  loadMs?: number
  /** Bytes of one body that are read at most; real ones have less than 8 KiB. */
  maxBytes?: number
}

/** A planner tells of every failing address in 150 bytes, a failed load of its whole trace. */
const longBytes = 512 * 1024

const count = z.number().nonnegative()
const info = z.object({
  version: z.object({ semver: z.string() }),
  plugins: z.array(z.object({ name: z.string() })).catch([]),
  isNodelink: z.boolean().catch(false),
  isNodeLink: z.boolean().catch(false),
})
const frames = z.object({ sent: z.number(), deficit: z.number(), expected: z.number().optional() })
const stats = z.object({
  players: count,
  playingPlayers: count,
  uptime: count,
  memory: z.object({ used: count, reservable: count }),
  cpu: z.object({ cores: count.optional(), systemLoad: count, lavalinkLoad: count }),
  frameStats: frames.nullish().catch(null),
})
const loaded = z.object({
  loadType: z.string(),
  data: z.unknown().optional(),
  exception: z.unknown().optional(),
})
const exception = z.object({
  message: z.string().nullish(),
  cause: z.string().nullish(),
  causeStackTrace: z.string().nullish(),
})

interface Identity {
  version: string
  api: 'v3' | 'v4'
  product: 'lavalink' | 'nodelink'
  plugins: readonly string[]
}

/**
 * Speaks the REST API of Lavalink 4 and 3.7 (https://lavalink.dev/api/rest) and of NodeLink 2 and 3, as far as a sidecar
 * needs it. Which one it is shows at the first look, and again after every restart.
 */
export function lavalinkRest(options: LavalinkRestOptions): Lavalink {
  const { timeoutMs, loadMs = 20_000, maxBytes = 64 * 1024 } = options
  let identity: Identity | undefined
  let uptime = 0

  const ask = (path: string, signal: AbortSignal, most = maxBytes) => get(options, path, { maxBytes: most, signal })

  async function identify(signal: AbortSignal): Promise<Identity> {
    const version = (await ask('/version', signal)).trim()
    if (!/^[\w.+-]{1,64}$/.test(version)) throw new Unusable('foreign', 'answers /version with something else')
    const api = version.startsWith('3.') && !(await hasV4(signal)) ? 'v3' : 'v4'
    const { plugins, isNodeLink, isNodelink } = check(info, await ask(`/${api}/info`, signal), `/${api}/info`)
    return {
      version,
      api,
      product: isNodeLink || isNodelink ? 'nodelink' : 'lavalink',
      plugins: plugins.map(({ name }) => name),
    }
  }

  /** NodeLink 3 speaks v4, Lavalink 3 does not. */
  async function hasV4(signal: AbortSignal): Promise<boolean> {
    try {
      await ask('/v4/info', signal)
      return true
    } catch (error) {
      if (error instanceof Unusable && error.status === 404) return false
      throw error
    }
  }

  async function measure({ api, product }: Identity, signal: AbortSignal) {
    const path = `/${api}/stats`
    const { memory, cpu, frameStats, ...rest } = check(stats, await ask(path, signal), path)
    // NodeLink tells the load average, which is a number of busy cores.
    const systemLoad = product === 'nodelink' ? cpu.systemLoad / Math.max(cpu.cores ?? 1, 1) : cpu.systemLoad
    const load: Load = {
      players: rest.players,
      playingPlayers: rest.playingPlayers,
      systemLoad: Math.min(systemLoad, 1),
      lavalinkLoad: Math.min(cpu.lavalinkLoad, 1),
      memoryUsed: memory.used,
      memoryReservable: memory.reservable,
      uptime: rest.uptime,
    }
    return { load, ...(frameStats && { lateFrames: lateShare(frameStats) }) }
  }

  /** What `work` gives, unless the time is over or the answer is of no use. */
  async function bounded<T>(
    signal: AbortSignal,
    ms: number,
    work: (signal: AbortSignal) => Promise<T>,
    otherwise: (kind: Unusable['kind'], reason: string) => T,
  ): Promise<T> {
    const limit = AbortSignal.timeout(ms)
    try {
      return await work(AbortSignal.any([signal, limit]))
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof Unusable) return otherwise(error.kind, error.message)
      return otherwise('silent', limit.aborted ? `gives no answer within ${ms} ms` : inWords(error))
    }
  }

  return {
    look: (signal) =>
      bounded<Look>(
        signal,
        timeoutMs,
        async (limit) => {
          identity ??= await identify(limit)
          const measured = await measure(identity, limit)
          // An uptime that went back means a restart, perhaps as another version.
          if (measured.load.uptime < uptime) identity = await identify(limit)
          uptime = measured.load.uptime
          return { kind: 'well', ...identity, ...measured }
        },
        (kind, reason) => {
          identity = undefined
          return { kind, reason }
        },
      ),
    loadTrack: (identifier, signal) =>
      bounded<TrackLoad>(
        signal,
        loadMs,
        async (limit) => {
          if (!identity) return { kind: 'unknown', reason: 'is not known yet' }
          const path = `/${identity.api}/loadtracks`
          const text = await ask(`${path}?identifier=${encodeURIComponent(identifier)}`, limit, longBytes)
          return trackLoad(check(loaded, text, path))
        },
        (_kind, reason) => ({ kind: 'unknown', reason }),
      ),
    planner: (signal) =>
      bounded(
        signal,
        timeoutMs,
        async (limit) => {
          // NodeLink's planner tells the number of its blocks where Lavalink tells that of the addresses, and fails.
          if (!identity || identity.product === 'nodelink') return { kind: 'unknown' } as const
          const text = await ask(`/${identity.api}/routeplanner/status`, limit, longBytes)
          return text === '' ? ({ kind: 'none' } as const) : readPlannerStatus(parse(text, '/routeplanner/status'))
        },
        () => ({ kind: 'unknown' }) as const,
      ),
  }
}

function trackLoad({ loadType, data, exception: old }: z.output<typeof loaded>): TrackLoad {
  switch (loadType.toLowerCase()) {
    case 'track':
    case 'playlist':
    case 'search':
    case 'track_loaded':
    case 'playlist_loaded':
    case 'search_result':
      return { kind: 'loaded' }
    case 'empty':
    case 'no_matches':
      return { kind: 'failed', class: 'gone' }
    case 'error':
    case 'load_failed': {
      const { message, cause, causeStackTrace } = exception.catch({}).parse(data ?? old)
      return { kind: 'failed', class: failureClass([message, cause, causeStackTrace].filter(Boolean).join('\n')) }
    }
    default:
      return { kind: 'unknown', reason: 'answers /loadtracks with something else' }
  }
}

function lateShare({ sent, deficit, expected }: z.output<typeof frames>): number {
  const whole = expected ?? sent + deficit
  return whole > 0 ? Math.min(Math.max(deficit / whole, 0), 1) : 0
}

function check<T>(shape: z.ZodType<T>, text: string, path: string): T {
  const result = shape.safeParse(parse(text, path))
  if (result.success) return result.data
  const field = result.error.issues[0]?.path.join('.') || 'the body'
  throw new Unusable('foreign', `answers ${path} with a wrong ${field}`)
}

function parse(text: string, path: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Unusable('foreign', `answers ${path} with something that is not JSON`)
  }
}
