import type { Checks } from '@damon/runtime/health'
import type { Logger } from '@damon/runtime/logger'
import { type Announcer, NodeAnnouncement } from './announcement.ts'
import { AudioNode, type Place } from './audio-node.ts'
import type { Clock } from './clock.ts'
import type { SidecarConfig } from './config.ts'
import { type Bots, drain } from './drain.ts'
import type { Rhythm } from './health.ts'
import { lavalinkV4 } from './lavalink-v4.ts'

/** How long one request to Lavalink may take, ms. */
const lookMs = 3_000
const rhythm = { quickMs: 1_000, refusedMs: 60_000 }

/** What the sidecar works with: the hub as seen through its ports, and its own life. */
export interface SidecarParts {
  /** The node's name in the records. */
  id: string
  announcer: Announcer
  bots: Bots
  clock: Clock
  log: Logger
  checks: Checks
  /** Ends the waiting of a drain. */
  hurry: AbortSignal
  /** How long a drain may take, ms. */
  drainMs: number
}

/** Starts to look after the Lavalink of the configuration; disposing the sidecar drains and retires the node. */
export function startSidecar(config: SidecarConfig, parts: SidecarParts): AsyncDisposable {
  const { id, announcer, bots, clock, log, checks, hurry, drainMs } = parts
  const password = config.LAVALINK_PASSWORD.reveal()
  const announcement = new NodeAnnouncement({
    announcer,
    id,
    password,
    onProblem: (error) => log.error({ err: error, node: id }, 'the hub does not take the record'),
  })
  const beat: Rhythm = { ...rhythm, pollMs: config.POLL_MS }
  const node = new AudioNode({
    lavalink: lavalinkV4({ url: config.LAVALINK_URL, password, timeoutMs: lookMs }),
    announcement,
    place: placeOf(config),
    rhythm: beat,
    clock,
    log: log.child({ node: id }),
  })
  checks.set('lavalink', () => (node.health.state === 'ready' ? undefined : sayHealth(node)))
  checks.set('announcement', () => announcement.problem)
  const ending = new AbortController()
  const running = node.run(ending.signal).catch((error) => {
    if (!ending.signal.aborted) throw error
  })
  const end = async (): Promise<void> => {
    ending.abort()
    await running
    const quickMs = Math.min(rhythm.quickMs, beat.pollMs)
    await drain(node, bots, { id, deadlineMs: drainMs, quickMs, clock, hurry, log })
  }
  let ended: Promise<void> | undefined
  return {
    [Symbol.asyncDispose]() {
      ended ??= end()
      return ended
    },
  }
}

/** Where bots find this Lavalink: as configured, else as this sidecar finds it. */
export function placeOf(config: SidecarConfig): Place {
  const { hostname, port, protocol } = config.LAVALINK_URL
  const secure = config.NODE_SECURE ?? protocol === 'https:'
  return {
    address: {
      host: config.NODE_ADDRESS ?? hostname.replace(/^\[(.*)\]$/, '$1'),
      port: config.NODE_PORT ?? (Number(port) || (protocol === 'https:' ? 443 : 80)),
      secure,
    },
    ...(config.NODE_REGION !== undefined && { region: config.NODE_REGION }),
  }
}

function sayHealth(node: AudioNode): string {
  const { state, reasons } = node.health
  return [state, ...reasons].join(': ')
}
