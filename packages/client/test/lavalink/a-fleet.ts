import { eventually } from '@damon/testkit/eventually'
import { FakeLavalink, type FakeLavalinkOptions } from '@damon/testkit/fake-lavalink'
import { expect, onTestFinished } from 'vitest'
import { type AttachedNodes, type AttachOptions, attachNodes } from '../../src/lavalink/attach-nodes.ts'
import { MemoryHub } from './memory-hub.ts'
import type { RealBot } from './real-bots.ts'

/** A Lavalink that lives as long as the test. */
export async function aLavalink(options: FakeLavalinkOptions = {}): Promise<FakeLavalink> {
  const lavalink = await FakeLavalink.start({ playerUpdateMs: 50, ...options })
  onTestFinished(() => lavalink.kill())
  return lavalink
}

/** A bot attached to Lavalinks that are announced as ready, and connected to all of them. */
export async function aFleet<const Id extends string>(
  makeBot: () => RealBot,
  ids: readonly Id[],
  options: AttachOptions = {},
): Promise<{ hub: MemoryHub; bot: RealBot; nodes: AttachedNodes; fleet: Record<Id, FakeLavalink> }> {
  const hub = new MemoryHub()
  const made = await Promise.all(ids.map(async (id) => [id, await aLavalink()] as const))
  for (const [id, lavalink] of made) hub.node(id, lavalink)
  const bot = makeBot()
  const nodes = attachNodes(hub.hub, bot.adapter, options)
  onTestFinished(() => {
    nodes[Symbol.dispose]()
    bot[Symbol.dispose]()
  })
  await nodes.ready()
  await eventually(() => expect(connected(nodes)).toEqual([...ids].sort()))
  return { hub, bot, nodes, fleet: Object.fromEntries(made) as Record<Id, FakeLavalink> }
}

/** Ids of the nodes that the bot is connected to. */
export function connected(nodes: AttachedNodes): string[] {
  return nodes
    .all()
    .filter((node) => node.connected)
    .map(({ id }) => id)
    .sort()
}

/** The id within a name of the library. */
export function idOf(name: string | undefined): string | undefined {
  return name?.split('~')[0]
}
