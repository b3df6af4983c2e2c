import type { Hub } from '@damon/client/hub'
import { Client, Events, type Interaction } from 'discord.js'
import { expect, test, vi } from 'vitest'
import { startBot } from '../examples/bot.ts'

type Handler = (value: unknown, request: { from: string }) => Promise<unknown>

/** The part of a hub that the example uses, with the records in two maps that a test fills. */
function recordsInMemory() {
  const entries = { 'node/': new Map<string, object>(), 'node-secret/': new Map<string, object>() }
  const handlers = new Map<string, Handler>()
  const hub = {
    watch: (prefix: keyof typeof entries) => ({ entries: entries[prefix], ready: async () => {}, on: () => {} }),
    handle: (event: string, handler: Handler) => void handlers.set(event, handler),
  } as unknown as Hub
  const add = (id: string, state = 'ready', players = 0): void => {
    const load = { systemLoad: 0, lavalinkLoad: 0, memoryUsed: 1, memoryReservable: 2, uptime: 3 }
    entries['node/'].set(`node/${id}`, {
      key: `node/${id}`,
      state: 'live',
      value: {
        state,
        reasons: [],
        since: 0,
        address: { host: `${id}.example`, port: 2333, secure: false },
        version: '4.2.2',
        api: 'v4',
        load: { ...load, players, playingPlayers: players },
      },
    })
    entries['node-secret/'].set(`node-secret/${id}`, { value: { password: 'youshallnotpass' } })
  }
  return { hub, entries, add, drain: (from: string, node: string) => handlers.get('node.drain')?.({ node }, { from }) }
}

test('knows each node that has an announced password, and places players on the emptiest ready one', async () => {
  const { hub, add, entries } = recordsInMemory()
  const { nodes } = await startBot(hub, new Client({ intents: [] }))
  add('full', 'ready', 9)
  add('empty', 'ready', 1)
  add('leaving', 'draining')
  add('wordless')
  entries['node-secret/'].delete('node-secret/wordless')
  expect(nodes.all().map(({ id }) => id)).toEqual(['full', 'empty', 'leaving'])
  expect(nodes.usable().map(({ id }) => id)).toEqual(['empty', 'full'])
  expect(nodes.usable()[0]).toMatchObject({ host: 'empty.example', port: 2333, password: 'youshallnotpass' })
})

test('moves its players off a drained node and says how many, but only for a sidecar', async () => {
  const { hub, add, drain } = recordsInMemory()
  const { players } = await startBot(hub, new Client({ intents: [] }))
  add('old')
  players.set('guild-1', 'old').set('guild-2', 'other')
  expect(await drain('sidecar/old', 'old')).toEqual({ moved: 0, failed: 1 })
  add('new')
  expect(await drain('sidecar/old', 'old')).toEqual({ moved: 1, failed: 0 })
  expect([...players]).toEqual([
    ['guild-1', 'new'],
    ['guild-2', 'other'],
  ])
  await expect(drain('bot/stranger', 'new')).rejects.toThrow('Only a sidecar')
})

test('answers /nodes without showing a password', async () => {
  const { hub, add } = recordsInMemory()
  const discord = new Client({ intents: [] })
  await startBot(hub, discord)
  const reply = vi.fn<(message: { content: string }) => Promise<void>>(async () => {})
  const interaction = { isChatInputCommand: () => true, commandName: 'nodes', reply } as unknown as Interaction
  discord.emit(Events.InteractionCreate, interaction)
  expect(reply.mock.lastCall?.[0].content).toBe('no audio nodes')
  add('fra1', 'ready', 2)
  discord.emit(Events.InteractionCreate, interaction)
  expect(reply.mock.lastCall?.[0].content).toBe('fra1: ready, fra1.example:2333, 2 players')
  expect(JSON.stringify(reply.mock.calls)).not.toContain('youshallnotpass')
})
