import { trackOf } from '@damon/testkit/fake-tracks'
import { LavalinkManager, type Track } from 'lavalink-client'
import { Connector, Shoukaku } from 'shoukaku'
import type { LavalinkAdapter } from '../../src/lavalink/adapter.ts'
import { lavalinkClientAdapter } from '../../src/lavalink/lavalink-client.ts'
import { shoukakuAdapter } from '../../src/lavalink/shoukaku.ts'

/** A bot with one of the real libraries, as far as tests drive it; its Discord is in memory. */
export interface RealBot extends Disposable {
  library: 'shoukaku' | 'lavalink-client'
  adapter: LavalinkAdapter
  /** What its library was told of tracks that ended: `guild reason`. A bot goes on to the next track by this. */
  readonly ends: string[]
  /** Joins the voice of a guild, where the library chooses the node, and plays. */
  play(guild: string, track: string): Promise<void>
  pause(guild: string): Promise<void>
  leave(guild: string): Promise<void>
  /** The library's own name of the node that a guild's player is on. */
  nodeOf(guild: string): string | undefined
  /** What the bot believes to be playing. */
  trackOf(guild: string): string | undefined
}

interface VoicePayload {
  op: number
  d: { guild_id: string; channel_id: string | null }
}

/** What Discord's gateway says to a wish for voice. */
function discordSays({ d: { guild_id, channel_id } }: VoicePayload, user: string) {
  const state = { t: 'VOICE_STATE_UPDATE', d: { guild_id, channel_id, user_id: user, session_id: `voice-${guild_id}` } }
  const endpoint = 'rotterdam1234.discord.media:443'
  const server = { t: 'VOICE_SERVER_UPDATE', d: { guild_id, token: 'voice-token', endpoint } }
  return channel_id === null ? [state] : [state, server]
}

class MemoryConnector extends Connector {
  getId(): string {
    return this.client as string
  }
  sendPacket(_shard: number, payload: unknown): void {
    for (const packet of discordSays(payload as VoicePayload, this.getId())) queueMicrotask(() => this.raw(packet))
  }
  listen(): void {
    this.ready([])
  }
}

/** A bot with shoukaku that begins without any node. */
export function shoukakuBot(user = '1001'): RealBot & { shoukaku: Shoukaku } {
  const options = { reconnectInterval: 1, reconnectTries: 3, moveOnDisconnect: false }
  const shoukaku = new Shoukaku(new MemoryConnector(user), [], options)
  shoukaku.on('error', () => {})
  const ends: string[] = []
  const join = async (guild: string) => {
    const player = await shoukaku.joinVoiceChannel({ guildId: guild, channelId: '1', shardId: 0 })
    player.on('end', ({ reason }) => void ends.push(`${guild} ${reason}`))
    return player
  }
  return {
    library: 'shoukaku',
    shoukaku,
    adapter: shoukakuAdapter(shoukaku),
    ends,
    async play(guild, track) {
      const player = shoukaku.players.get(guild) ?? (await join(guild))
      await player.playTrack({ track: { encoded: trackOf(track).encoded } })
    },
    pause: async (guild) => shoukaku.players.get(guild)?.setPaused(true),
    leave: (guild) => shoukaku.leaveVoiceChannel(guild),
    nodeOf: (guild) => shoukaku.players.get(guild)?.node.name,
    trackOf(guild) {
      const encoded = shoukaku.players.get(guild)?.track
      return encoded ? Buffer.from(encoded, 'base64').toString() : undefined
    },
    [Symbol.dispose]() {
      for (const { ws } of shoukaku.nodes.values()) {
        ws?.removeAllListeners()
        ws?.terminate()
      }
    },
  }
}

/** A bot with lavalink-client that begins without any node. */
export function lavalinkClientBot(user = '1002'): RealBot & { manager: LavalinkManager } {
  const manager: LavalinkManager = new LavalinkManager({
    nodes: [],
    client: { id: user, username: 'test' },
    sendToShard(_guild, payload) {
      for (const packet of discordSays(payload as VoicePayload, user))
        queueMicrotask(() => void manager.sendRawData(packet as never))
    },
    playerOptions: { enforceSponsorBlockRequestForEventEnablement: false },
  })
  manager.nodeManager.on('error', () => {})
  const ends: string[] = []
  const onEnd = ({ guildId }: { guildId: string }, _track: unknown, payload: unknown): void => {
    ends.push(`${guildId} ${(payload as { reason?: string }).reason}`)
  }
  manager.on('trackEnd', onEnd).on('queueEnd', onEnd)
  return {
    library: 'lavalink-client',
    manager,
    adapter: lavalinkClientAdapter(manager),
    ends,
    async play(guild, track) {
      const player = manager.getPlayer(guild) ?? manager.createPlayer({ guildId: guild, voiceChannelId: '1' })
      if (!player.connected) await player.connect()
      const built = manager.utils.buildTrack(trackOf(track) as unknown as Track, { id: 'somebody' })
      await player.play({ clientTrack: built as Track })
    },
    pause: async (guild) => void (await manager.getPlayer(guild)?.pause()),
    leave: async (guild) => void (await manager.getPlayer(guild)?.destroy()),
    nodeOf: (guild) => manager.getPlayer(guild)?.node.id,
    trackOf: (guild) => manager.getPlayer(guild)?.queue.current?.info.identifier,
    [Symbol.dispose]() {
      for (const { id } of [...manager.nodeManager.nodes.values()]) lavalinkClientAdapter(manager).remove(id)
    },
  }
}

/** Both, for tests that hold for any library. */
export const realBots = { shoukaku: shoukakuBot, 'lavalink-client': lavalinkClientBot } as const
