import type { Wish } from './adapter.ts'

/** A connected node that may take a player, with all that speaks for and against it. */
export interface Candidate {
  name: string
  /** 0 for a node that is well; a node of a higher grade is chosen only where there is none of a lower. */
  grade: number
  /** Players on it, of all bots. */
  players: number
  /** 0 to 1; NodeLink tells more, which counts as 1. */
  systemLoad: number
  /** 0 to 1. */
  memory: number
  /** Between the node and Discord's voice servers, ms, as this bot's players there had it. */
  pingMs?: number | undefined
  region?: string | undefined
}

/** What a candidate's properties cost, in players: a node that costs ten more gets the next player when it has ten fewer. */
export const weights = {
  /** A busy VPS stutters long before its last percent: squared, so that half load costs a quarter. */
  systemLoad: 60,
  /** Close to the end of its heap a JVM does little but collect garbage. */
  fullMemory: 40,
  fullFrom: 0.9,
  /** Ten milliseconds are heard by nobody; another continent is. */
  pingPerMs: 0.1,
  /** What is not known counts as this, so that a new node is tried. */
  unknownPingMs: 40,
  /** Another region than the voice server's: about what the way there and back costs. */
  otherRegion: 15,
  /** Bots that choose at the same moment shall not all choose the same of nodes that are nearly alike. */
  scatter: 3,
} as const

/** Voice regions of Discord, and the regions of nodes that are near, by name. */
export type Regions = Readonly<Record<string, readonly string[]>>

/** The candidates, best first. The same guild finds the same order while nothing changes. */
export function rank(
  candidates: readonly Candidate[],
  { guild = '', region }: Wish,
  regions: Regions = {},
): Candidate[] {
  const near = region === undefined ? undefined : new Set([region, ...(regions[region] ?? [])])
  const priced = candidates.map((candidate) => ({ candidate, cost: cost(candidate, near) + scatter(candidate, guild) }))
  priced.sort((a, b) => a.candidate.grade - b.candidate.grade || a.cost - b.cost)
  return priced.map(({ candidate }) => candidate)
}

function cost(
  { players, systemLoad, memory, pingMs, region }: Candidate,
  near: ReadonlySet<string> | undefined,
): number {
  const load = Math.min(Math.max(systemLoad, 0), 1)
  const far = near && region !== undefined && !near.has(region)
  return (
    players +
    weights.systemLoad * load * load +
    (memory >= weights.fullFrom ? weights.fullMemory : 0) +
    weights.pingPerMs * (pingMs ?? weights.unknownPingMs) +
    (far ? weights.otherRegion : 0)
  )
}

/** 0 to `weights.scatter`, by guild and node: FNV-1a, whose last step mixes well enough for a choice among few. */
function scatter({ name }: Candidate, guild: string): number {
  let hash = 0x811c9dc5
  for (const letter of `${guild}/${name}`) hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193)
  return (((hash ^ (hash >>> 15)) >>> 0) / 2 ** 32) * weights.scatter
}
