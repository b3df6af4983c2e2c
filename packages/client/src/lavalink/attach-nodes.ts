import { type NodeOutcomes, nodeDrain, nodeEvents } from '@damon/protocol/audio'
import { damonError } from '@damon/protocol/errors'
import type { NodeRecord } from '@damon/protocol/records'
import type { RequestContext } from '../handlers.ts'
import type { Hub } from '../hub.ts'
import { Listeners, warn } from '../listeners.ts'
import type { LavalinkAdapter, LibraryPlayer, Wish } from './adapter.ts'
import { Cordons } from './cordons.ts'
import { Ejections } from './ejections.ts'
import { KnownNodes } from './known-nodes.ts'
import { Moves } from './moves.ts'
import { OutcomeLedger, OutcomeReader } from './outcomes.ts'
import type { Regions } from './pick.ts'
import { Placing } from './placing.ts'
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
  /** Its name in the library; another one with each connection that `attachNodes` makes. */
  name?: string
  connected: boolean
  record: NodeRecord
  /** This bot's own players on it. */
  players: number
  /** Nobody looks after it at the moment. */
  unattended: boolean
  /** It failed this bot, which avoids it for a while. */
  ejected: boolean
}

/** What `on` hears. */
export interface AttachEvents {
  /** Nodes came, went or changed, or may have. */
  change: undefined
  moved: { guild: string; from: string; to: string }
  /** A player that must move finds no node that takes it; it is tried again. */
  stranded: { guild: string; from: string }
  /** Errors of the library and of the hub that belong to no call. */
  error: unknown
}

/** How often everything is looked at anew, whatever was heard, ms. */
const everyMs = 1_000
/** How long a node that its sidecar cannot reach may say nothing of its players, ms: Lavalink tells their position every 5 s. */
const silentMs = 7_000
/** Nodes that a player is offered to in a row, and when it is offered again if none takes it, ms. */
const offers = { most: 3, againMs: 2_000 } as const

/**
 * Keeps a bot's Lavalink library equal to the audio nodes of the records, its players where music plays, and the sidecars
 * informed. It looks at everything again each second, so that nothing depends on having heard an event.
 */
export class AttachedNodes implements Disposable {
  readonly #hub: Hub
  readonly #adapter: LavalinkAdapter
  readonly #known: KnownNodes
  readonly #roster: Roster
  readonly #placing: Placing
  readonly #moves: Moves
  readonly #cordons = new Cordons()
  readonly #ejections = new Ejections()
  readonly #reader = new OutcomeReader()
  readonly #ledger = new OutcomeLedger()
  readonly #listeners = new Listeners<AttachEvents>(warn)
  readonly #resources: Disposable[] = []
  /** Guilds whose music stopped with the session of their node. */
  readonly #lost = new Set<string>()
  /** When a stranded guild is offered again, monotonic ms. */
  readonly #stranded = new Map<string, number>()
  /** When a node last said anything, by name, monotonic ms. */
  readonly #heard = new Map<string, number>()
  #woken = false
  #over = false

  constructor(hub: Hub, adapter: LavalinkAdapter, { concurrency = 8, regions = {} }: AttachOptions) {
    this.#hub = hub
    this.#adapter = adapter
    const report = (error: unknown) => void this.#listeners.emit('error', error)
    this.#roster = new Roster(adapter, report)
    this.#moves = new Moves(concurrency, (guild) => this.#move(guild))
    this.#known = new KnownNodes(hub, now, () => this.#wake())
    this.#known.ready().catch(report)
    const parts = { adapter, roster: this.#roster, known: this.#known, cordons: this.#cordons, regions, now }
    this.#placing = new Placing({ ...parts, ejections: this.#ejections })
    hub.join('bots').catch(report)
    const timer = setInterval(() => this.#tick(), everyMs)
    if (typeof timer === 'object') timer.unref()
    this.#resources.push(
      this.#known,
      { [Symbol.dispose]: () => clearInterval(timer) },
      hub.handle(nodeEvents.drain, (value, request) => this.#drain(value, request)),
      adapter.attach({
        connected: (name, resumed) => this.#connected(name, resumed),
        disconnected: (name) => this.#disconnected(name),
        message: (name, message) => this.#message(name, message),
        error: (_name, error) => report(error),
        rank: (names, wish) => this.#placing.rank(names, wish),
      }),
    )
  }

  /** Resolves when the records were seen and the library was given its nodes; rejects when the hub refuses to show them. */
  async ready(): Promise<void> {
    await this.#known.ready()
    this.#reconcile()
  }

  /** All nodes that are known, connected or not. */
  all(): AttachedNode[] {
    const own = this.#placing.ownPlayers()
    return this.#known.all().map(({ id, record, unattended }) => {
      const member = this.#roster.memberOf(id)
      const standing = { unattended, ejected: this.#ejections.until(id, now()) !== undefined }
      const named = member && { name: member.name }
      return { id, ...named, connected: member?.connected ?? false, record, players: own.get(id) ?? 0, ...standing }
    })
  }

  /** The library's name of the best node for a new player; undefined when there is none. */
  pick(wish: Wish = {}): string | undefined {
    const connected = this.#adapter.nodes().flatMap(({ name, state }) => (state === 'connected' ? [name] : []))
    return this.#placing.rank(connected, wish)[0]
  }

  on<E extends keyof AttachEvents>(event: E, listener: (value: AttachEvents[E]) => void): Disposable {
    return this.#listeners.on(event, listener)
  }

  /** Lets go of hub and library; nodes and players stay where they are. */
  [Symbol.dispose](): void {
    this.#over = true
    for (const resource of this.#resources.splice(0)) resource[Symbol.dispose]()
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
      if (!this.#over) this.#reconcile()
    })
  }

  #reconcile(): void {
    const players = this.#adapter.players()
    const occupied = new Set([...players.map(({ node }) => node), ...this.#placing.expecting])
    this.#roster.reconcile(this.#known.all(), occupied, now())
    this.#cordons.settle(this.#known, now())
    for (const player of players) {
      const due = (this.#stranded.get(player.guild) ?? 0) <= now()
      if (due && !this.#moves.has(player.guild) && this.#mustMove(player)) void this.#moves.bring(player.guild)
    }
    for (const name of [...this.#heard.keys()]) if (!this.#roster.members.has(name)) this.#heard.delete(name)
    const guilds = new Set(players.map(({ guild }) => guild))
    for (const memory of [this.#lost, this.#stranded])
      for (const guild of [...memory.keys()]) if (!guilds.has(guild)) memory.delete(guild)
    this.#listeners.emit('change', undefined)
  }

  #mustMove({ guild, node }: LibraryPlayer): boolean {
    const id = this.#roster.idOf(node)
    if (id === undefined) return false
    const member = this.#roster.members.get(node)
    const over = !member?.connected || member.leaving || this.#cordons.has(id) || this.#hangs(id, node)
    return over || this.#lost.has(guild)
  }

  /** A process that hangs keeps its connections. */
  #hangs(id: string, name: string): boolean {
    return (
      this.#known.get(id)?.record.state === 'unreachable' && now() - (this.#heard.get(name) ?? -silentMs) >= silentMs
    )
  }

  /** Offers a player to the best nodes in turn; says whether one took it. */
  async #move(guild: string): Promise<boolean> {
    const player = this.#adapter.players().find((one) => one.guild === guild)
    if (!player) return true
    const from = this.#roster.idOf(player.node) ?? player.node
    const here = this.#roster.members.get(player.node)
    const connected = [...this.#roster.members.values()].flatMap((member) => (member.connected ? [member.name] : []))
    const others = connected.filter((name) => name !== player.node || this.#lost.has(guild))
    const ranked = this.#placing.rank(others, player).slice(0, offers.most)
    for (const name of ranked) {
      if (!(await this.#offer(guild, name))) continue
      this.#lost.delete(guild)
      this.#stranded.delete(guild)
      this.#listeners.emit('moved', { guild, from, to: this.#roster.idOf(name) ?? name })
      this.#wake()
      return true
    }
    // Each offer took it away from where it was.
    const gone = ranked.length > 0 && here?.connected && !this.#lost.has(guild)
    if (gone && !(await this.#offer(guild, here.name))) this.#lost.add(guild)
    this.#stranded.set(guild, now() + offers.againMs)
    this.#listeners.emit('stranded', { guild, from })
    return false
  }

  async #offer(guild: string, name: string): Promise<boolean> {
    const coming = this.#placing.expect(name)
    try {
      await this.#adapter.move(guild, name)
      return true
    } catch (error) {
      this.#listeners.emit('error', error)
      const id = this.#roster.idOf(name)
      if (id !== undefined) this.#ejections.failed(id, now())
      return false
    } finally {
      coming[Symbol.dispose]()
    }
  }

  /** Answers a sidecar that wants its node empty: how many players moved, and how many could not. */
  async #drain(value: unknown, { from }: Pick<RequestContext, 'from'>): Promise<{ moved: number; failed: number }> {
    if (!from.startsWith('sidecar/')) throw damonError('denied', 'Only a sidecar may ask this.')
    const { success, data } = nodeDrain.safeParse(value)
    if (!success) throw damonError('bad_field', 'node: must be the id of a node.', { field: 'node' })
    const { node } = data
    this.#cordons.add(node, this.#known.get(node)?.record.since, now())
    const players = this.#adapter.players().filter((player) => this.#roster.idOf(player.node) === node)
    const moved = await Promise.all(players.map(({ guild }) => this.#moves.bring(guild)))
    const failed = moved.filter((well) => !well).length
    return { moved: moved.length - failed, failed }
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
    this.#heard.set(name, now())
    this.#placing.hear(id, message)
    const outcome = this.#reader.read(id, message)
    if (!outcome) return
    this.#ledger.note(outcome, now())
    if (outcome.what === 'end') this.#ejections.succeeded(id)
    // A video that is gone is gone everywhere.
    else if (outcome.what !== 'start' && outcome.what !== 'gone') this.#ejections.failed(id, now())
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
}

/**
 * Gives a bot's Lavalink library its audio nodes, from now until it is disposed. The bot's token needs what the profile `bot`
 * has. Throws `bad_field` when the bot answers `node.drain` itself.
 */
export function attachNodes(hub: Hub, adapter: LavalinkAdapter, options: AttachOptions = {}): AttachedNodes {
  return new AttachedNodes(hub, adapter, options)
}

function now(): number {
  return performance.now()
}
