import type { Logger } from '@damon/runtime/logger'
import { addressesOf } from './address.ts'
import { type Announcer, NodeAnnouncement } from './announcement.ts'
import { AudioNode, type Undated } from './audio-node.ts'
import type { Clock } from './clock.ts'
import type { SidecarConfig } from './config.ts'
import { type Bots, drain } from './drain.ts'
import { BanWindow } from './evidence/ban-window.ts'
import { runCanary } from './evidence/canary.ts'
import { runReachability } from './evidence/reachability.ts'
import { runRoutePlanner } from './evidence/route-planner.ts'
import type { Fleet } from './fleet.ts'
import { lavalinkRest } from './lavalink-rest.ts'
import type { NodeMemory } from './node-memory.ts'
import type { NodeSettings } from './node-settings.ts'
import type { Outside } from './outside.ts'
import { occupySlot, retireWhenSpent, slotReserveMs } from './retirement.ts'

/** How long one request to Lavalink may take, ms. */
const lookMs = 3_000
const rhythm = { quickMs: 1_000, refusedMs: 60_000 }
const plannerMs = 60_000
const canaryAgainMs = 60_000
const retireRetryMs = 15_000
const probeMs = { everyMs: 600_000, againMs: 60_000 }

/** What the care for a node works with. */
export interface CareParts {
  announcer: Announcer
  bots: Bots
  fleet: Fleet
  /** This client, `SERVICE/INSTANCE`. */
  sidecar: string
  /** The hosts under which bots find the machine, unless the settings name one. */
  hosts: (settings: NodeSettings) => readonly string[] | undefined
  /** Who tries whether bots reach the node. */
  outside?: Outside | undefined
  /** What it remembers over restarts. */
  memory?: NodeMemory | undefined
  clock: Clock
  random: () => number
  log: Logger
  /** Ends the waiting of a drain. */
  hurry: AbortSignal
  /** How long the drain at the end may take, ms. */
  drainMs: number
  /** Stops the container of a retired node. */
  stop?: (() => Promise<void>) | undefined
  /** Further sources of evidence, each running until its signal is aborted. */
  sources?: readonly ((node: AudioNode, signal: AbortSignal) => Promise<void>)[]
}

/** One node with everything that looks after it. */
export interface Care extends AsyncDisposable {
  readonly id: string
  readonly node: AudioNode
  /** Why the hub does not have the newest record, in words. */
  readonly problem: string | undefined
  observe(observation: Undated): void
}

/** Looks after one Lavalink until it is disposed, which drains and retires the node. */
export async function careFor(settings: NodeSettings, config: SidecarConfig, parts: CareParts): Promise<Care> {
  const { id } = settings
  const { announcer, bots, fleet, clock, random, memory, hurry, drainMs, sidecar } = parts
  const limits = config.THRESHOLDS
  const log = parts.log.child({ node: id })
  const password = settings.password.reveal()
  const lavalink = lavalinkRest({ url: settings.url, password, timeoutMs: lookMs })
  const announcement = new NodeAnnouncement({
    announcer,
    id,
    password,
    onProblem: (error) => log.error({ err: error }, 'the hub does not take the record'),
  })
  const known = await memory?.load()
  const bans = new BanWindow(known?.bans)
  const canary = config.CANARY_TRACKS.length > 1
  const beat = { ...rhythm, pollMs: config.POLL_MS }
  const node: AudioNode = new AudioNode({
    lavalink,
    announcement,
    place: () => {
      const place = addressesOf(settings, parts.hosts(settings))
      const { region } = settings
      return place && { ...place, sidecar, ...(region !== undefined && { region }), ...reachabilityOf(node) }
    },
    rhythm: beat,
    clock,
    log,
    limits,
    canary,
    earlier: known && {
      played: known.played,
      ...(known.state === 'exhausted' && {
        state: known.state,
        reasons: known.reasons,
        since: clock.now() - Math.max(0, clock.unix() - known.since),
      }),
    },
  })
  const remembering = memory && keep(node, bans, memory, log)

  const quickMs = Math.min(rhythm.quickMs, beat.pollMs)
  const how = { id, quickMs, quietLooks: limits.quiet, resumeMs: config.RESUME_MS, clock, log }
  const ending = new AbortController()
  // A drain that began by itself has no longer time than one that is ordered, once that is ordered.
  const pressed = new AbortController()
  const tasks = [
    node.run(ending.signal),
    runRoutePlanner(node, { lavalink, bans, banMs: limits.banMs, everyMs: plannerMs, clock }, ending.signal),
    ...(parts.sources ?? []).map((source) => source(node, ending.signal)),
  ]
  if (canary) {
    const againMs = Math.min(canaryAgainMs, config.CANARY_MS)
    const tracks = config.CANARY_TRACKS
    const options = { lavalink, tracks, everyMs: config.CANARY_MS, againMs, clock, random, log }
    tasks.push(runCanary(node, options, ending.signal))
  }
  if (parts.outside && config.PROBE) {
    const target = () => {
      const place = addressesOf(settings, parts.hosts(settings))
      return place && { address: place.address, configured: settings.address !== undefined }
    }
    tasks.push(runReachability(node, { id, outside: parts.outside, target, ...probeMs, clock }, ending.signal))
  }
  if (config.RETIRE) {
    const options = {
      ...{ fleet, bots, sidecar, limits, retryMs: retireRetryMs, stop: parts.stop, clock, log },
      drain: { ...how, deadlineMs: config.RETIRE_MS, hurry: AbortSignal.any([hurry, pressed.signal]) },
    }
    tasks.push(retireWhenSpent(node, options, ending.signal))
  }
  const running = tasks.map((task) =>
    task.catch((error) => {
      if (!ending.signal.aborted) log.error({ err: error }, 'a source of evidence ended')
    }),
  )

  const end = async (): Promise<void> => {
    ending.abort()
    const press = new AbortController()
    clock.sleep(drainMs, press.signal).then(
      () => pressed.abort('the deadline of the drain has come'),
      () => {},
    )
    await Promise.all(running)
    press.abort()
    if (node.health.state !== 'retired') {
      const until = clock.unix() + drainMs + slotReserveMs
      if (node.verified) void occupySlot(fleet, { node: id, sidecar, until }, log)
      await drain(node, bots, { ...how, deadlineMs: drainMs, hurry, because: 'asked to stop', reason: 'retired' })
    }
    await remembering?.[Symbol.asyncDispose]()
  }
  let ended: Promise<void> | undefined
  return {
    id,
    node,
    get problem() {
      return announcement.problem
    },
    observe: (observation) => node.observe(observation),
    [Symbol.asyncDispose]() {
      ended ??= end()
      return ended
    },
  }
}

/** Whether bots reach the address: not known, or as the last probers said. */
function reachabilityOf(node: AudioNode | undefined): { reachability: 'proved' | 'unproved' | 'failed' } {
  const reached = node?.evidence.probe.at(-1)?.reached
  return { reachability: reached === undefined ? 'unproved' : reached ? 'proved' : 'failed' }
}

/** Saves what must be known after a restart, whenever it changed. */
function keep(node: AudioNode, bans: BanWindow, memory: NodeMemory, log: Logger): AsyncDisposable {
  let last = ''
  let saving = Promise.resolve()
  const listening = node.on('judged', () => {
    const { state, reasons, played } = node.health
    if (state === 'draining' || state === 'retired') return
    const remembered = { state, reasons: [...reasons], since: node.sinceUnix, played, bans: bans.entries() }
    const text = JSON.stringify(remembered)
    if (text === last) return
    last = text
    saving = memory.save(remembered).catch((error) => log.warn({ err: error }, 'the state of the node cannot be saved'))
  })
  return {
    async [Symbol.asyncDispose]() {
      listening[Symbol.dispose]()
      await saving
    },
  }
}
