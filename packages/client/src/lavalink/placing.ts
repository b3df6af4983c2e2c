import type { LavalinkAdapter, Wish } from './adapter.ts'
import type { Cordons } from './cordons.ts'
import type { Ejections } from './ejections.ts'
import { type KnownNode, type KnownNodes, treatments } from './known-nodes.ts'
import { type Candidate, type Regions, rank } from './pick.ts'
import type { Roster } from './roster.ts'

/** How much one ping moves the mean of a node. */
const pingWeight = 0.2

/** What is known of nodes when a player is placed. */
export interface PlacingParts {
  adapter: Pick<LavalinkAdapter, 'players'>
  roster: Roster
  known: KnownNodes
  cordons: Cordons
  ejections: Ejections
  regions: Regions
  now: () => number
}

/** Says which node a player shall be on, from the records, this bot's own players, and what it heard. */
export class Placing {
  readonly #parts: PlacingParts
  /** Players on their way to a node, by name. */
  readonly #coming = new Map<string, number>()
  /** Own players on a node when its record was written, by id: the record counts them already. */
  readonly #counted = new Map<string, { revision: number; own: number }>()
  readonly #pings = new Map<string, number>()

  constructor(parts: PlacingParts) {
    this.#parts = parts
  }

  /** Nodes that a player is on its way to, by name. */
  get expecting(): Iterable<string> {
    return this.#coming.keys()
  }

  /** Own nodes that may be given a player, the best first; behind them those that somebody else added. */
  rank(names: readonly string[], wish: Wish): string[] {
    const { roster, regions } = this.#parts
    const own = this.ownPlayers()
    const candidates = names.flatMap((name) => this.#candidate(name, own) ?? [])
    const foreign = names.filter((name) => roster.idOf(name) === undefined)
    return [...rank(candidates, wish, regions).map(({ name }) => name), ...foreign]
  }

  /** This bot's players on each node, by id. */
  ownPlayers(): Map<string, number> {
    const own = new Map<string, number>()
    for (const { node } of this.#parts.adapter.players()) {
      const id = this.#parts.roster.idOf(node)
      if (id !== undefined) own.set(id, (own.get(id) ?? 0) + 1)
    }
    return own
  }

  /** A player goes to a node, and counts there until it has arrived. */
  expect(name: string): Disposable {
    this.#coming.set(name, (this.#coming.get(name) ?? 0) + 1)
    return {
      [Symbol.dispose]: () => {
        const left = (this.#coming.get(name) ?? 1) - 1
        if (left > 0) this.#coming.set(name, left)
        else this.#coming.delete(name)
      },
    }
  }

  /** Takes what a message tells of the way between a node and Discord. */
  hear(id: string, message: unknown): void {
    const { op, state } = (message ?? {}) as { op?: unknown; state?: { ping?: unknown } }
    const ping = op === 'playerUpdate' ? state?.ping : undefined
    // Lavalink tells -1 where there is no voice connection.
    if (typeof ping !== 'number' || ping < 0) return
    this.#pings.set(id, (this.#pings.get(id) ?? ping) * (1 - pingWeight) + ping * pingWeight)
  }

  #candidate(name: string, own: ReadonlyMap<string, number>): Candidate | undefined {
    const { roster, known: nodes, cordons, ejections, now } = this.#parts
    const member = roster.members.get(name)
    const known = member && nodes.get(member.id)
    if (!known || member.leaving || cordons.has(known.id)) return undefined
    const { id, record, unattended } = known
    const { load, state, region } = record
    const ejected = ejections.until(id, now()) !== undefined
    return {
      name,
      grade: Math.max(treatments[state].grade, unattended ? 1 : 0, ejected ? 2 : 0),
      players: this.#players(known, own.get(id) ?? 0) + (this.#coming.get(name) ?? 0),
      systemLoad: load?.systemLoad ?? 0,
      memory: load ? load.memoryUsed / Math.max(load.memoryReservable, 1) : 0,
      pingMs: this.#pings.get(id),
      region,
    }
  }

  /** What the record says, and what it cannot know of this bot yet. */
  #players({ id, record, revision }: KnownNode, own: number): number {
    const counted = this.#counted.get(id)
    const before = counted?.revision === revision ? counted.own : own
    this.#counted.set(id, { revision, own: before })
    return Math.max(0, (record.load?.players ?? 0) + own - before)
  }
}
