import { connect } from '@damon/client/connect'
import { Client, GatewayIntentBits } from 'discord.js'
import { describe, startBot } from './bot.ts'

// node packages/client/examples/main.ts [connection file]; DISCORD_TOKEN to be on Discord too.
await using hub = await connect(process.argv[2], { name: 'example-bot', groups: ['bots'] })
hub.on('state', ({ state, reason }) => console.log(`hub: ${state} ${reason ?? ''}`))
const discord = new Client({ intents: [GatewayIntentBits.Guilds] })
const { nodes } = await startBot(hub, discord)

let shown = ''
const show = (): void => {
  const text = describe(nodes)
  if (text !== shown) console.log(text)
  shown = text
}
show()
nodes.onChange(show)

if (process.env.DISCORD_TOKEN) await discord.login(process.env.DISCORD_TOKEN)
else console.log('DISCORD_TOKEN is not set: running without Discord')

await new Promise((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve)
})
await discord.destroy()
