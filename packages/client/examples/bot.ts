import type { Hub } from '@damon/client/hub'
import { type AttachedNodes, attachNodes } from '@damon/client/lavalink/attach-nodes'
import { shoukakuAdapter } from '@damon/client/lavalink/shoukaku'
import {
  ApplicationCommandOptionType,
  type ChatInputCommandInteraction,
  type Client,
  Events,
  MessageFlags,
} from 'discord.js'
import { Connectors, Shoukaku } from 'shoukaku'

/** A bot at work: its Lavalink library, and the audio nodes that it has from the hub. Disposed, it leaves them all. */
export interface Bot extends Disposable {
  shoukaku: Shoukaku
  nodes: AttachedNodes
}

/** Gives a discord.js client music: `/play`, `/nodes`, and audio nodes that come, go and are drained without it doing anything. */
export function startBot(hub: Hub, discord: Client): Bot {
  const shoukaku = new Shoukaku(new Connectors.DiscordJS(discord), [])
  shoukaku.on('error', (node, error) => discord.emit(Events.Warn, `${node}: ${error.message}`))
  const adapter = shoukakuAdapter(shoukaku)
  const nodes = attachNodes(hub, adapter)

  discord.on(Events.InteractionCreate, async (interaction) => {
    if (!interaction.isChatInputCommand()) return
    const { commandName } = interaction
    const content = commandName === 'nodes' ? describe(nodes) : await play(shoukaku, interaction)
    await interaction.reply({ content, flags: MessageFlags.Ephemeral })
  })
  discord.once(Events.ClientReady, ({ application }) =>
    application.commands.set([
      { name: 'nodes', description: 'Where I can play music' },
      {
        name: 'play',
        description: 'Plays a song in your voice channel',
        options: [{ name: 'song', description: 'Its name', type: ApplicationCommandOptionType.String, required: true }],
      },
    ]),
  )
  return {
    shoukaku,
    nodes,
    [Symbol.dispose]() {
      nodes[Symbol.dispose]()
      for (const { name } of adapter.nodes()) adapter.remove(name)
    },
  }
}

/** Joins the voice channel of whoever asks, on the node that is best for it, and plays the first song that is found. */
async function play(shoukaku: Shoukaku, interaction: ChatInputCommandInteraction): Promise<string> {
  const { guild, user } = interaction
  const channelId = guild?.voiceStates.cache.get(user.id)?.channelId
  if (!guild || !channelId) return 'Join a voice channel first.'
  const player =
    shoukaku.players.get(guild.id) ??
    (await shoukaku.joinVoiceChannel({ guildId: guild.id, channelId, shardId: guild.shardId }))
  const found = await player.node.rest.resolve(`ytsearch:${interaction.options.getString('song', true)}`)
  const track = found?.loadType === 'search' ? found.data[0] : undefined
  if (!track) return 'I found nothing.'
  await player.playTrack({ track: { encoded: track.encoded } })
  return `Playing ${track.info.title}.`
}

/** The nodes in words, one on each line; never their passwords. */
export function describe(nodes: Pick<AttachedNodes, 'all'>): string {
  const lines = nodes.all().map(({ id, record: { state, address, load }, unattended }) => {
    const known = unattended && state === 'ready' ? 'suspect' : state
    return `${id}: ${known}, ${address.host}:${address.port}, ${load?.players ?? 0} players`
  })
  return lines.join('\n') || 'no audio nodes'
}
