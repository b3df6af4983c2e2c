import { connect } from '@damon/client/connect'
import { answerProbes } from '@damon/client/prober-node'
import { Client, GatewayIntentBits } from 'discord.js'
import { describe, startBot } from './bot.ts'

// node packages/client/examples/main.ts [connection file]; DISCORD_TOKEN to be on Discord too.
await using hub = await connect(process.argv[2], { name: 'example-bot', groups: ['bots'] })
hub.on('state', ({ state, reason }) => console.log(`hub: ${state} ${reason ?? ''}`))
answerProbes(hub)
const discord = new Client({ intents: [GatewayIntentBits.Guilds, GatewayIntentBits.GuildVoiceStates] })
using bot = startBot(hub, discord)
const { nodes } = bot

let shown = ''
const show = (): void => {
  const text = describe(nodes)
  if (text !== shown) console.log(text)
  shown = text
}
nodes.on('change', show)
await nodes.ready()

if (process.env.DISCORD_TOKEN) await discord.login(process.env.DISCORD_TOKEN)
else console.log('DISCORD_TOKEN is not set: running without Discord')

await new Promise((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve)
})
await discord.destroy()
