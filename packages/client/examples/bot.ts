import type { Hub } from '@damon/client/hub'
import { type Client, Events, MessageFlags } from 'discord.js'
import { type AudioNodes, watchAudioNodes } from './audio-nodes.ts'

/** A bot at work: which audio nodes it knows, and on which of them each guild's player is. */
export interface Bot {
  nodes: AudioNodes
  players: Map<string, string>
}

/** Gives a discord.js client its audio nodes: answers `/nodes`, and moves its players when a node is drained. */
export async function startBot(hub: Hub, discord: Client): Promise<Bot> {
  const nodes = await watchAudioNodes(hub)
  const players = new Map<string, string>()

  hub.handle('node.drain', async (wish, { from }) => {
    if (!from.startsWith('sidecar/')) throw new Error('Only a sidecar may ask this.')
    const { node } = wish as { node: string }
    const guilds = [...players].filter(([, on]) => on === node).map(([guild]) => guild)
    const [target] = nodes.usable().filter(({ id }) => id !== node)
    if (!target) return { moved: 0, failed: guilds.length }
    // Here a real bot tells its Lavalink library to move the player.
    for (const guild of guilds) players.set(guild, target.id)
    return { moved: guilds.length, failed: 0 }
  })

  discord.on(Events.InteractionCreate, async (interaction) => {
    if (!interaction.isChatInputCommand() || interaction.commandName !== 'nodes') return
    await interaction.reply({ content: describe(nodes), flags: MessageFlags.Ephemeral })
  })
  discord.once(Events.ClientReady, ({ application }) =>
    application.commands.create({ name: 'nodes', description: 'Where I can play music' }),
  )
  return { nodes, players }
}

/** The nodes in words, one on each line; never their passwords. */
export function describe(nodes: AudioNodes): string {
  const lines = nodes
    .all()
    .map(({ id, state, host, port, players }) => `${id}: ${state}, ${host}:${port}, ${players} players`)
  return lines.join('\n') || 'no audio nodes'
}
