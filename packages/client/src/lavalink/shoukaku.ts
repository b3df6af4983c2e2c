import type { Node, Player, Shoukaku } from 'shoukaku'
import {
  enterMs,
  type Guide,
  guildOf,
  type LavalinkAdapter,
  type LibraryNode,
  leaveMs,
  silence,
  urlHost,
  within,
} from './adapter.ts'

/** The values of shoukaku's `State`, which is not here at run time: the library is the bot's own. */
const state = { connected: 1, disconnected: 3 } as const

/** How a position was when it was last told. */
interface Heard {
  /** What the player said then: if it says otherwise now, somebody has sought. */
  told: number
  position: number
  /** Monotonic ms. */
  at: number
  length: number
}

/**
 * Shoukaku 4.3. While attached, its own `moveOnDisconnect` and `resumeByLibrary` are off, which act on the players of all nodes,
 * and its `nodeResolver` is replaced.
 */
export function shoukakuAdapter(shoukaku: Shoukaku): LavalinkAdapter {
  const failed = new Set<string>()
  const heard = new Map<string, Heard>()
  return {
    nodes: () => [...shoukaku.nodes.values()].map((node) => ({ name: node.name, state: stateOf(node, failed) })),
    add({ name, host, port, secure, password }) {
      // Without the bot's own user shoukaku would keep a node that never connects.
      if (shoukaku.id) shoukaku.addNode({ name, url: `${urlHost(host)}:${port}`, auth: password, secure })
    },
    remove(name) {
      failed.delete(name)
      const node = shoukaku.nodes.get(name)
      if (node) remove(shoukaku, node)
    },
    players: () =>
      [...shoukaku.players.values()].map(({ guildId, node }) => {
        const region = shoukaku.connections.get(guildId)?.region ?? undefined
        return { guild: guildId, node: node.name, region }
      }),
    async move(guild, to) {
      const player = shoukaku.players.get(guild)
      if (!player) return
      const target = shoukaku.nodes.get(to)
      if (target?.state !== state.connected) throw new Error(`${to} is not connected.`)
      const position = positionOf(player, heard.get(guild))
      await move(player, target, position)
      heard.set(guild, { told: player.position, position, at: performance.now(), length: Number.POSITIVE_INFINITY })
    },
    attach: (guide) => attach(shoukaku, guide, failed, heard),
  }
}

function stateOf({ name, state: is }: Node, failed: ReadonlySet<string>): LibraryNode['state'] {
  if (is === state.connected) return 'connected'
  return failed.has(name) || is === state.disconnected ? 'failed' : 'connecting'
}

/** Shoukaku answers its own goodbye with a new connection, and goes on trying what it was told to forget. */
function remove(shoukaku: Shoukaku, node: Node): void {
  node.ws?.removeAllListeners('close')
  // Ends the loop of attempts when it wakes up.
  node.reconnects = Number.POSITIVE_INFINITY
  if (!node.ws) {
    // A handshake is under way that nothing can call back, and `disconnect` would begin another.
    node.state = state.disconnected
    const hangUp = (): void => {
      node.ws?.removeAllListeners('close')
      node.ws?.close(1000)
    }
    // The first message may come before the node has its socket.
    node.once('ready', () => setTimeout(hangUp))
  }
  shoukaku.removeNode(node.name, 'removed')
}

/** Not shoukaku's own `move`, which rejects for ever when the old node is dead, and lets it take a minute when it hangs. */
async function move(player: Player, target: Node, position: number): Promise<void> {
  const from = player.node
  // First, so that the end of track which the old node tells is not taken for one.
  player.node = target
  if (from !== target && from.sessionId) {
    const leaving = from.rest.destroyPlayer(player.guildId).catch(() => {})
    if (from.state === state.connected) await within(leaving, leaveMs, from.name).catch(() => {})
  }
  const entering = player.resume({ position, paused: player.paused })
  try {
    await within(entering, enterMs, target.name)
  } catch (error) {
    player.node = from
    // It may get there yet, when the player is elsewhere.
    entering
      .then(() => (player.node === target ? undefined : target.rest.destroyPlayer(player.guildId)))
      .catch(() => {})
    throw error
  }
}

/** Where the music is now: shoukaku knows where it was up to five seconds ago, or in the track before. */
function positionOf(player: Player, heard: Heard | undefined): number {
  if (!heard || heard.told !== player.position) return player.position
  const passed = player.track && !player.paused ? performance.now() - heard.at : 0
  return Math.min(Math.round(heard.position + passed), heard.length)
}

function attach(shoukaku: Shoukaku, guide: Guide, failed: Set<string>, heard: Map<string, Heard>): Disposable {
  const { nodeResolver, moveOnDisconnect, resumeByLibrary } = shoukaku.options
  shoukaku.options.moveOnDisconnect = false
  shoukaku.options.resumeByLibrary = false
  shoukaku.options.nodeResolver = (nodes, connection) => {
    const connected = [...nodes.values()].filter((node) => node.state === state.connected).map(({ name }) => name)
    const [best] = guide.rank(connected, { guild: connection?.guildId, region: connection?.region ?? undefined })
    return best === undefined ? undefined : nodes.get(best)
  }

  const ready = (name: string, resumed: boolean): void => {
    failed.delete(name)
    guide.connected(name, resumed)
  }
  const closed = (name: string, code: number, reason: string): void =>
    guide.disconnected(name, `${code} ${reason}`.trim())
  // After one attempt that failed shoukaku hangs up again even if the next succeeds, and forgets the node.
  const reconnecting = (name: string): void => {
    failed.add(name)
    guide.disconnected(name, 'cannot connect')
  }
  const error = (name: string, thrown: unknown): void => guide.error(name, thrown)
  const raw = (name: string, message: unknown): void => {
    guide.message(name, message)
    const guild = guildOf(message)
    const player = guild === undefined ? undefined : shoukaku.players.get(guild)
    if (!player) return
    if (player.node.name !== name) silence(message)
    else note(player, message as PlayerMessage, heard)
  }
  shoukaku.on('ready', ready).on('close', closed).on('reconnecting', reconnecting).on('error', error).on('raw', raw)
  return {
    [Symbol.dispose]() {
      shoukaku.off('ready', ready).off('close', closed).off('reconnecting', reconnecting)
      shoukaku.off('error', error).off('raw', raw)
      Object.assign(shoukaku.options, { nodeResolver, moveOnDisconnect, resumeByLibrary })
    },
  }
}

interface PlayerMessage {
  op: string
  type?: string
  state?: { position?: number }
  track?: { info?: { length?: number } }
}

function note(player: Player, { op, type, state: told, track }: PlayerMessage, heard: Map<string, Heard>): void {
  const at = performance.now()
  const { guildId, position } = player
  const length = heard.get(guildId)?.length ?? Number.POSITIVE_INFINITY
  if (op === 'playerUpdate' && typeof told?.position === 'number')
    heard.set(guildId, { told: told.position, position: told.position, at, length })
  // Shoukaku does not go back to zero with a new track.
  if (type === 'TrackStartEvent')
    heard.set(guildId, { told: position, position: 0, at, length: track?.info?.length ?? Number.POSITIVE_INFINITY })
  if (type === 'TrackEndEvent') heard.delete(guildId)
}
