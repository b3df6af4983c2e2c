import { eventually } from '@damon/testkit/eventually'
import { Client, Events, type Interaction } from 'discord.js'
import { expect, onTestFinished, test, vi } from 'vitest'
import { startBot } from '../examples/bot.ts'
import { aLavalink } from './lavalink/a-fleet.ts'
import { MemoryHub } from './lavalink/memory-hub.ts'

/** The bot of the example, logged in as far as its libraries can tell. */
async function aBot() {
  const memory = new MemoryHub()
  const discord = new Client({ intents: [] })
  const user = { id: '1001' }
  Object.defineProperty(discord, 'user', { value: user })
  Object.defineProperty(discord, 'application', { value: { commands: { set: async () => [] } } })
  const bot = startBot(memory.hub, discord)
  onTestFinished(() => bot[Symbol.dispose]())
  discord.emit(Events.ClientReady, discord as Client<true>)
  return { memory, discord, ...bot }
}

function command(commandName: string, more: object = {}) {
  const reply = vi.fn<(message: { content: string }) => Promise<void>>(async () => {})
  const interaction = { isChatInputCommand: () => true, commandName, reply, ...more } as unknown as Interaction
  return { interaction, reply }
}

test('plays a song on an announced node in the voice channel of whoever asks', async () => {
  const { memory, discord, shoukaku, nodes } = await aBot()
  const lavalink = await aLavalink()
  memory.node('fra1', lavalink)
  await eventually(() => expect(nodes.all()).toMatchObject([{ id: 'fra1', connected: true }]))
  // What Discord's gateway says when the bot joins a voice channel.
  shoukaku.connector.sendPacket = () => {
    const say = (t: string, d: object) => discord.emit('raw' as Events.Debug, { t, d } as unknown as string)
    setImmediate(() => {
      say('VOICE_STATE_UPDATE', { guild_id: '7', channel_id: '1', user_id: '1001', session_id: 'v' })
      say('VOICE_SERVER_UPDATE', { guild_id: '7', token: 't', endpoint: 'rotterdam1.discord.media:443' })
    })
  }
  const guild = { id: '7', shardId: 0, voiceStates: { cache: new Map([['42', { channelId: '1' }]]) } }
  const { interaction, reply } = command('play', { guild, user: { id: '42' }, options: { getString: () => 'naima' } })
  discord.emit(Events.InteractionCreate, interaction)
  await eventually(() => expect(reply).toHaveBeenCalled())
  expect(reply.mock.lastCall?.[0].content).toBe('Playing Title of naima.')
  expect(lavalink.sessions.player('7')).toMatchObject({ playing: true, connected: true })
})

test('asks whoever is in no voice channel to join one', async () => {
  const { discord } = await aBot()
  const guild = { id: '7', shardId: 0, voiceStates: { cache: new Map() } }
  const { interaction, reply } = command('play', { guild, user: { id: '42' } })
  discord.emit(Events.InteractionCreate, interaction)
  await eventually(() => expect(reply.mock.lastCall?.[0].content).toBe('Join a voice channel first.'))
})

test('answers /nodes without showing a password', async () => {
  const { memory, discord, nodes } = await aBot()
  const { interaction, reply } = command('nodes')
  discord.emit(Events.InteractionCreate, interaction)
  await eventually(() => expect(reply.mock.lastCall?.[0].content).toBe('no audio nodes'))
  const lavalink = await aLavalink({ password: 'nobody sees this' })
  lavalink.stats = { ...lavalink.stats, players: 2 }
  memory.node('fra1', lavalink)
  await nodes.ready()
  discord.emit(Events.InteractionCreate, interaction)
  const line = `fra1: ready, 127.0.0.1:${lavalink.port}, 2 players`
  await eventually(() => expect(reply.mock.lastCall?.[0].content).toBe(line))
  expect(JSON.stringify(reply.mock.calls)).not.toContain('nobody sees this')
})
