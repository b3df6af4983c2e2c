import { type NodeOutcomes, nodeDrain, nodeEvents } from '@damon/protocol/audio'
import { damonError } from '@damon/protocol/errors'
import type { NodeRecord } from '@damon/protocol/records'
import type { RequestContext } from '../handlers.ts'
import type { Hub } from '../hub.ts'
import { Listeners, warn } from '../listeners.ts'
import type { LavalinkAdapter, LibraryPlayer, Wish } from './adapter.ts'
import { Ejections } from './ejections.ts'
import { KnownNodes, keepMs, treatments } from './known-nodes.ts'
import { Moves } from './moves.ts'
import { OutcomeLedger, OutcomeReader } from './outcomes.ts'
import { type Candidate, type Regions, rank } from './pick.ts'
import { Roster } from './roster.ts'

/** How `attachNodes` behaves; every field has a default. */
export interface AttachOptions {
  /** Players that move at one time; default 8. */
  concurrency?: number
  /** Node regions that are near a voice region of another name: `{ rotterdam: ['fra1', 'ams3'] }`. */
  regions?: Regions
}

/** A node as this bot has it. */
export interface AttachedNode {
  id: string
  /** Its name in the library; changes with each new connection that `attachNodes` makes. */
  name?: string
  connected: boolean
  record: NodeRecord
  /** This bot's own players on it. */
  players: number
  /** Nobody looks after it at the moment. */
  unattended: boolean
  /** This bot had bad experiences with it, and avoids it for a while. */
  ejected: boolean
}

/** What `on` hears. */
export interface AttachEvents {
  /** Nodes came, went or changed. */
  change: undefined
  moved: { guild: string; from: string; to: string }
  /** A player has no node that would take it; it is tried again. */
  stranded: { guild: string; from: string }
  /** What belongs to no call: errors of the library and of the hub. */
  error: unknown
}

/** How often everything is looked at anew, whatever was heard, ms. */
const everyMs = 1_000
/** Nodes that a player is offered to before it is given up for a moment, and that moment, ms. */
const tries = 3
const strandedMs = 2_000
/** How much one ping moves the mean of a node. */
const pingWeight = 0.2

/**
 * Keeps a bot's Lavalink library equal to the audio nodes of the records, its players on nodes that play, and the sidecars informed.
 * It looks again every second, so that nothing depends on having heard an event. Without the hub the last known nodes stay in use.
 */
export class AttachedNodes implements Disposable {
  readonly #hub: Hub
  readonly #adapter: LavalinkAdapter
  readonly #regions: Regions
  readonly #known: KnownNodes
  readonly #roster: Roster
  readonly #moves: Moves
  readonly #ejections = new Ejections()
  readonly #reader = new OutcomeReader()
  readonly #ledger = new OutcomeLedger()
  readonly #listeners = new Listeners<AttachEvents>(warn)
  readonly #resources = new DisposableStack()
  /** Guilds whose music stopped with the session of their node. */
  readonly #lost = new Set<string>()
  /** When a stranded guild is tried again, monotonic ms. */
  readonly #stranded = new Map<string, number>()
  /** Nodes that a sidecar asked to leave, with what their record said and when. */
  readonly #asked = new Map<string, { since: number | undefined; at: number }>()
  /** Players on their way to a node, by name. */
  readonly #coming = new Map<string, number>()
  /** Own players on a node when its record was written, by id. */
  readonly #counted = new Map<string, { revision: number; own: number }>()
  readonly #pings = new Map<string, number>()
  #woken = false

  constructor(hub: Hub, adapter: LavalinkAdapter, { concurrency = 8, regions = {} }: AttachOptions) {
    this.#hub = hub
    this.#adapter = adapter
    this.#regions = regions
    const report = (error: unknown) => this.#report(error)
    this.#roster = new Roster(adapter, report)
    this.#moves = new Moves(concurrency, (guild) => this.#move(guild))
    this.#known = this.#resources.use(new KnownNodes(hub, now, () => this.#wake()))
    this.#known.ready().catch(report)
    this.#resources.use(hub.handle(nodeEvents.drain, (value, request) => this.#drain(value, request)))
    hub.join('bots').catch(report)
    this.#resources.use(
      adapter.attach({
        connected: (name, resumed) => this.#connected(name, resumed),
        disconnected: (name) => this.#disconnected(name),
        message: (name, message) => this.#message(name, message),
        error: (_name, error) => this.#report(error),
        rank: (names, wish) => this.#rank(names, wish),
      }),
    )
    const timer = setInterval(() => this.#tick(), everyMs)
    if (typeof timer === 'object') timer.unref()
    this.#resources.defer(() => clearInterval(timer))
  }

  /** Resolves when the records were seen and the library was given its nodes; rejects when the hub refuses to show them. */
  async ready(): Promise<void> {
    await this.#known.ready()
    this.#reconcile()
  }

  /** All nodes that are known, connected or not. */
  all(): AttachedNode[] {
    const own = this.#ownPlayers()
    return this.#known.all().map(({ id, record, unattended }) => {
      const member = this.#roster.memberOf(id)
      const standing = { unattended, ejected: this.#ejections.until(id, now()) !== undefined }
      const named = member && { name: member.name }
      return { id, ...named, connected: member?.connected ?? false, record, players: own.get(id) ?? 0, ...standing }
    })
  }

  /** The library's name of the best node for a new player; undefined when there is none. */
  pick(wish: Wish = {}): string | undefined {
    const connected = this.#adapter.nodes().filter(({ state }) => state === 'connected')
    return this.#rank(
      connected.map(({ name }) => name),
      wish,
    )[0]
  }

  on<E extends keyof AttachEvents>(event: E, listener: (value: AttachEvents[E]) => void): Disposable {
    return this.#listeners.on(event, listener)
  }

  /** Lets go of hub and library; nodes and players stay where they are. */
  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]()
  }

  #tick(): void {
    this.#reconcile()
    if (this.#hub.state === 'connected') for (const report of this.#ledger.take(now())) void this.#tell(report)
  }

  #wake(): void {
    if (this.#woken) return
    this.#woken = true
    queueMicrotask(() => {
      this.#woken = false
      if (!this.#resources.disposed) this.#reconcile()
    })
  }

  #reconcile(): void {
    const players = this.#adapter.players()
    const occupied = new Set(players.map(({ node }) => node))
    for (const name of this.#coming.keys()) occupied.add(name)
    this.#roster.reconcile(this.#known.all(), occupied, now())
    this.#forgetAnswered()
    for (const player of players) {
      const due = (this.#stranded.get(player.guild) ?? 0) <= now()
      if (due && !this.#moves.has(player.guild) && this.#mustMove(player)) void this.#moves.bring(player.guild)
    }
    const guilds = new Set(players.map(({ guild }) => guild))
    for (const memory of [this.#lost, this.#stranded])
      for (const guild of [...memory.keys()]) if (!guilds.has(guild)) memory.delete(guild)
    this.#listeners.emit('change', undefined)
  }

  #mustMove({ guild, node }: LibraryPlayer): boolean {
    const id = this.#roster.idOf(node)
    if (id === undefined) return false
    const member = this.#roster.members.get(node)
    return !member?.connected || member.leaving || this.#lost.has(guild) || this.#asked.has(id)
  }

  /** Offers a player to the best nodes in turn; says whether one took it. */
  async #move(guild: string): Promise<boolean> {
    const player = this.#adapter.players().find((one) => one.guild === guild)
    if (!player) return true
    const from = this.#roster.idOf(player.node) ?? player.node
    const here = this.#roster.members.get(player.node)
    const names = [...this.#roster.members.values()].filter(({ connected }) => connected).map(({ name }) => name)
    const others = names.filter((name) => name !== player.node || this.#lost.has(guild))
    for (const name of this.#rank(others, player).slice(0, tries)) {
      if (!(await this.#offer(guild, name))) continue
      const to = this.#roster.idOf(name) ?? name
      this.#lost.delete(guild)
      this.#stranded.delete(guild)
      this.#listeners.emit('moved', { guild, from, to })
      this.#wake()
      return true
    }
    // A node that took it away from its old one and could not keep it has left it nowhere.
    if (others.length > 0 && here?.connected && !this.#lost.has(guild) && !(await this.#offer(guild, here.name)))
      this.#lost.add(guild)
    this.#stranded.set(guild, now() + strandedMs)
    this.#listeners.emit('stranded', { guild, from })
    return false
  }

  async #offer(guild: string, name: string): Promise<boolean> {
    this.#coming.set(name, (this.#coming.get(name) ?? 0) + 1)
    try {
      await this.#adapter.move(guild, name)
      return true
    } catch (error) {
      this.#report(error)
      const id = this.#roster.idOf(name)
      if (id !== undefined) this.#ejections.failed(id, now())
      return false
    } finally {
      const left = (this.#coming.get(name) ?? 1) - 1
      if (left > 0) this.#coming.set(name, left)
      else this.#coming.delete(name)
    }
  }

  /** Answers a sidecar that wants its node empty: how many players moved, and how many could not. */
  async #drain(value: unknown, { from }: Pick<RequestContext, 'from'>): Promise<{ moved: number; failed: number }> {
    if (!from.startsWith('sidecar/')) throw damonError('denied', 'Only a sidecar may ask this.')
    const { success, data } = nodeDrain.safeParse(value)
    if (!success) throw damonError('bad_field', 'node: must be the id of a node.', { field: 'node' })
    const { node } = data
    this.#asked.set(node, { since: this.#known.get(node)?.record.since, at: now() })
    const players = this.#adapter.players().filter((player) => this.#roster.idOf(player.node) === node)
    const moved = await Promise.all(players.map(({ guild }) => this.#moves.bring(guild)))
    const failed = moved.filter((well) => !well).length
    return { moved: moved.length - failed, failed }
  }

  /** A node that was left may be used again when its record says something new, or when nothing came of the wish for long. */
  #forgetAnswered(): void {
    for (const [id, { since, at }] of this.#asked) {
      const record = this.#known.get(id)?.record
      const renewed = record && record.since !== since && !treatments[record.state].leave
      if (!record || renewed || now() - at >= keepMs) this.#asked.delete(id)
    }
  }

  #connected(name: string, resumed: boolean): void {
    for (const guild of this.#guildsOn(name)) {
      if (resumed) this.#lost.delete(guild)
      else this.#lost.add(guild)
    }
    this.#stranded.clear()
    this.#wake()
  }

  #disconnected(name: string): void {
    const id = this.#roster.idOf(name)
    if (id === undefined) return
    if (this.#roster.members.get(name)?.connected) this.#ejections.eject(id, now())
    for (const guild of this.#guildsOn(name)) this.#lost.add(guild)
    this.#wake()
  }

  #guildsOn(name: string): string[] {
    if (this.#roster.idOf(name) === undefined) return []
    return this.#adapter.players().flatMap(({ guild, node }) => (node === name ? [guild] : []))
  }

  #message(name: string, message: unknown): void {
    const id = this.#roster.idOf(name)
    if (id === undefined) return
    const { op, state } = (message ?? {}) as { op?: unknown; state?: { ping?: unknown } }
    const ping = op === 'playerUpdate' ? state?.ping : undefined
    // Lavalink tells -1 where there is no voice connection.
    if (typeof ping === 'number' && ping >= 0)
      this.#pings.set(id, (this.#pings.get(id) ?? ping) * (1 - pingWeight) + ping * pingWeight)
    const outcome = this.#reader.read(id, message)
    if (!outcome) return
    this.#ledger.note(outcome, now())
    if (outcome.what === 'end') this.#ejections.succeeded(id)
    // A video that is gone is gone everywhere.
    else if (outcome.what !== 'start' && outcome.what !== 'gone') this.#ejections.failed(id, now())
  }

  /** Own nodes that may be given a player, the best first; behind them those that somebody else added. */
  #rank(names: readonly string[], wish: Wish): string[] {
    const own = this.#ownPlayers()
    const candidates = names.flatMap((name) => this.#candidate(name, own) ?? [])
    const foreign = names.filter((name) => this.#roster.idOf(name) === undefined)
    return [...rank(candidates, wish, this.#regions).map(({ name }) => name), ...foreign]
  }

  #candidate(name: string, ownPlayers: ReadonlyMap<string, number>): Candidate | undefined {
    const member = this.#roster.members.get(name)
    const known = member && this.#known.get(member.id)
    if (!known || member.leaving || this.#asked.has(known.id)) return undefined
    const { id, record, unattended, revision } = known
    const { load, state, region } = record
    const own = ownPlayers.get(id) ?? 0
    const counted = this.#counted.get(id)
    if (counted?.revision !== revision) this.#counted.set(id, { revision, own })
    const since = own - (counted?.revision === revision ? counted.own : own)
    const ejected = this.#ejections.until(id, now()) !== undefined
    return {
      name,
      grade: Math.max(treatments[state].grade, unattended ? 1 : 0, ejected ? 2 : 0),
      // The record does not know yet what happened since it was written.
      players: Math.max(0, (load?.players ?? 0) + since) + (this.#coming.get(name) ?? 0),
      systemLoad: load?.systemLoad ?? 0,
      memory: load ? load.memoryUsed / Math.max(load.memoryReservable, 1) : 0,
      pingMs: this.#pings.get(id),
      region,
    }
  }

  #ownPlayers(): Map<string, number> {
    const own = new Map<string, number>()
    for (const { node } of this.#adapter.players()) {
      const id = this.#roster.idOf(node)
      if (id !== undefined) own.set(id, (own.get(id) ?? 0) + 1)
    }
    return own
  }

  async #tell(report: NodeOutcomes): Promise<void> {
    const known = this.#known.get(report.node)
    if (!known) return
    const [service = 'sidecar', instance = report.node] = known.record.sidecar?.split('/') ?? []
    try {
      await this.#hub.client(service, instance).send(nodeEvents.outcomes, report)
    } catch {
      this.#ledger.putBack(report, now())
    }
  }

  #report(error: unknown): void {
    this.#listeners.emit('error', error)
  }
}

/** Gives a bot's Lavalink library its audio nodes, from now until it is disposed. The bot needs the capabilities of the profile `bot`. */
export function attachNodes(hub: Hub, adapter: LavalinkAdapter, options: AttachOptions = {}): AttachedNodes {
  return new AttachedNodes(hub, adapter, options)
}

function now(): number {
  return performance.now()
}
