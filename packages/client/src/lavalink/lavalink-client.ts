import type { LavalinkManager, LavalinkNode, Player } from 'lavalink-client'
import {
  enterMs,
  type Guide,
  guildOf,
  type LavalinkAdapter,
  type LibraryNode,
  leaveMs,
  regionOf,
  silence,
  urlHost,
  within,
} from './adapter.ts'

/** What the library has no public word for. */
interface Inner {
  socket: {
    removeAllListeners(): void
    on(event: 'error', listener: () => void): void
    close(code: number): void
  } | null
  open(): Promise<void>
  resetReconnectionAttempts(): void
  resetAckTimeouts(heartbeat: boolean, ping: boolean): void
}

/** The library's own mark on a player that changes its node: what it hears of it meanwhile ends no track. */
const changing = 'internal_nodeChanging'
const retryDelayMs = 1_000

/** What the adapter remembers of the nodes it was told of. */
interface Seen {
  /** Nodes with a session. */
  ready: Set<string>
  /** Connections that were lost or not made since the last session, by node. */
  losses: Map<string, number>
}

/**
 * lavalink-client 2.11. While attached, its own `autoMove` is off, and `leastUsedNodes`, by which it places players, is replaced.
 * It can use no node with TLS on another port than 443.
 */
export function lavalinkClientAdapter(manager: LavalinkManager): LavalinkAdapter {
  const { nodes } = manager.nodeManager
  const seen: Seen = { ready: new Set(), losses: new Map() }
  return {
    nodes: () => [...nodes.values()].map((node) => ({ name: node.id, state: stateOf(node, seen) })),
    add({ name, host, port, secure, password }) {
      if (manager.options.client?.id) add(manager, { name, host, port, secure, password })
    },
    remove(name) {
      const node = nodes.get(name)
      seen.ready.delete(name)
      seen.losses.delete(name)
      if (node) remove(manager, node)
    },
    players: () =>
      [...manager.players.values()].map(({ guildId, node, voice }) => {
        return { guild: guildId, node: node.id, region: regionOf(voice.endpoint) }
      }),
    async move(guild, to) {
      const player = manager.players.get(guild)
      if (!player) return
      const target = nodes.get(to)
      if (!target || stateOf(target, seen) !== 'connected') throw new Error(`${to} is not connected.`)
      await move(player, target, seen.ready.has(player.node.id))
    },
    attach: (guide) => attach(manager, guide, seen),
  }
}

function stateOf(node: LavalinkNode, { ready, losses }: Seen): LibraryNode['state'] {
  if (node.connected && ready.has(node.id)) return 'connected'
  return (losses.get(node.id) ?? 0) > 1 ? 'failed' : 'connecting'
}

function add(
  manager: LavalinkManager,
  access: { name: string; host: string; port: number; secure: boolean; password: string },
): void {
  const { nodeManager } = manager
  const node = nodeManager.createNode({
    ...{ id: access.name, host: urlHost(access.host), port: access.port, secure: access.secure },
    authorization: access.password,
    // At the last of its attempts the library would destroy the players with their queues.
    ...{ retryAmount: Number.POSITIVE_INFINITY, retryDelay: retryDelayMs },
  })
  const inner = node as unknown as Inner
  const open = inner.open
  // A node whose /v4/info is not what it should be would end the process by an unhandled rejection.
  inner.open = async () => {
    try {
      await open.call(inner)
    } catch (error) {
      if (nodeManager.listenerCount('error') > 0) nodeManager.emit('error', node, error as Error)
    }
  }
  // Without a node at `init`, it would drop every voice update from Discord.
  manager.initiated = true
  node.connect()
}

/** Not `deleteNode`, which destroys the players, and throws out of nowhere while a handshake is under way. */
function remove({ nodeManager }: LavalinkManager, node: LavalinkNode): void {
  const inner = node as unknown as Inner
  inner.socket?.removeAllListeners()
  inner.socket?.on('error', () => {})
  inner.socket?.close(1000)
  inner.socket = null
  inner.resetReconnectionAttempts()
  inner.resetAckTimeouts(true, true)
  nodeManager.nodes.delete(node.id)
  nodeManager.emit('destroy', node, 'NodeDeleted')
}

/**
 * Not the library's `changeNode`, which waits ten seconds for an old node that hangs, is then unable to change that player ever
 * again, and takes any answer of the new one for a yes.
 */
async function move(player: Player, target: LavalinkNode, wasReady: boolean): Promise<void> {
  const { guildId, voice, node: from } = player
  const { token, endpoint, sessionId, channelId } = voice
  if (!token || !endpoint || !sessionId) throw new Error(`Discord has not told the voice server of ${guildId} yet.`)
  const { current } = player.queue
  const position = Math.max(0, Math.round(player.paused ? player.lastPosition : player.position))
  const { paused } = player
  player.setData(changing, true)
  player.node = target
  try {
    if (from !== target && from.connected && wasReady)
      await within(from.destroyPlayer(guildId), leaveMs, from.id).catch(() => {})
    const { userData } = current ?? {}
    const entering = target.updatePlayer({
      guildId,
      noReplace: false,
      playerOptions: {
        ...(current?.encoded && {
          track: { encoded: current.encoded, ...(userData && { userData }) },
          ...{ position, paused, volume: player.lavalinkVolume },
        }),
        voice: { token, endpoint, sessionId, channelId: channelId ?? player.voiceChannelId ?? '' },
      },
    })
    await enter(player, target, entering)
  } catch (error) {
    player.node = from
    throw error
  } finally {
    player.setData(changing, undefined)
  }
  if (hasFilters(player)) player.filterManager.applyPlayerFilters().catch(() => {})
}

async function enter(player: Player, target: LavalinkNode, entering: Promise<unknown>): Promise<void> {
  const { guildId } = player
  try {
    const answer = await within(entering, enterMs, target.id)
    const placed = typeof answer === 'object' && answer !== null && 'guildId' in answer && answer.guildId === guildId
    if (!placed) throw new Error(`${target.id} did not take the player of ${guildId}.`)
  } catch (error) {
    // It may get there yet, when the player is elsewhere.
    entering.then(() => (player.node === target ? undefined : target.destroyPlayer(guildId))).catch(() => {})
    throw error
  }
}

function hasFilters({ filterManager: { filters, equalizerBands } }: Player): boolean {
  return equalizerBands.length > 0 || Object.values(filters).some((on) => on === true)
}

function attach(manager: LavalinkManager, guide: Guide, { ready, losses }: Seen): Disposable {
  const { nodeManager } = manager
  const { autoMove = false } = manager.options
  for (const node of nodeManager.nodes.values()) if (node.connected && node.sessionId) ready.add(node.id)
  manager.options.autoMove = false
  const { leastUsedNodes } = nodeManager
  nodeManager.leastUsedNodes = (...wish) => {
    const nodes = leastUsedNodes.apply(nodeManager, wish)
    const names = nodes.filter(({ id }) => ready.has(id)).map(({ id }) => id)
    return guide.rank(names, {}).flatMap((name) => nodes.find(({ id }) => id === name) ?? [])
  }

  const raw = (node: LavalinkNode, message: unknown): void => {
    const { op, resumed } = message as { op?: unknown; resumed?: unknown }
    if (op === 'ready') {
      ready.add(node.id)
      losses.delete(node.id)
      // The library reads the session's id from this message when its listeners are done.
      queueMicrotask(() => guide.connected(node.id, resumed === true))
    }
    guide.message(node.id, message)
    const guild = guildOf(message)
    const player = guild === undefined ? undefined : manager.players.get(guild)
    if (player && player.node !== node) silence(message)
  }
  const disconnect = (node: LavalinkNode, { code, reason }: { code?: number; reason?: string }): void => {
    ready.delete(node.id)
    losses.set(node.id, (losses.get(node.id) ?? 0) + 1)
    guide.disconnected(node.id, `${code ?? ''} ${reason ?? ''}`.trim())
  }
  const error = (node: LavalinkNode, thrown: Error): void => guide.error(node.id, thrown)
  nodeManager.on('raw', raw).on('disconnect', disconnect).on('error', error)
  return {
    [Symbol.dispose]() {
      nodeManager.off('raw', raw).off('disconnect', disconnect).off('error', error)
      Reflect.deleteProperty(nodeManager, 'leastUsedNodes')
      manager.options.autoMove = autoMove
    },
  }
}
