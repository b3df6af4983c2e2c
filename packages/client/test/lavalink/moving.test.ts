import { eventually } from '@damon/testkit/eventually'
import { troubles } from '@damon/testkit/fake-tracks'
import { describe, expect, test } from 'vitest'
import { aFleet, aLavalink, connected, idOf } from './a-fleet.ts'
import { realBots } from './real-bots.ts'

const drain = (node: string) => ['node.drain', { node }, `sidecar/${node}`] as const

describe.each(Object.entries(realBots))('the players of %s', (_library, makeBot) => {
  /** A fleet whose players are all on `a`, as many as asked, each ten seconds into its track. */
  async function playingOnA<const Id extends string>(others: readonly Id[], guilds = ['7'], options = {}) {
    const world = await aFleet(makeBot, ['a', ...others], options)
    for (const id of others) world.hub.node(id, world.fleet[id], 'suspect')
    for (const guild of guilds) {
      await world.bot.play(guild, `song-${guild}`)
      world.fleet.a.sessions.player(guild)!.change({ position: 10_000 }, true)
    }
    for (const id of others) world.hub.node(id, world.fleet[id])
    // The bot has heard where its players are.
    const { manager, shoukaku } = world.bot as {
      manager?: { players: Map<string, { lastPosition: number }> }
      shoukaku?: { players: Map<string, { position: number }> }
    }
    await eventually(() => {
      for (const guild of guilds)
        expect(
          manager?.players.get(guild)?.lastPosition ?? shoukaku?.players.get(guild)?.position,
        ).toBeGreaterThanOrEqual(10_000)
    })
    return world
  }

  test('move when their node is drained: same track, same place, and the queue hears of no end', async () => {
    const { hub, bot, fleet } = await playingOnA(['b'])
    expect(await hub.ask(...drain('a'))).toEqual({ moved: 1, failed: 0 })
    expect(idOf(bot.nodeOf('7'))).toBe('b')
    expect(bot.trackOf('7')).toBe('song-7')
    const [end, start] = [fleet.a.journal.at(-1), fleet.b.journal.at(-1)]
    expect(end).toMatchObject({ what: 'end', reason: 'stopped' })
    expect(start).toMatchObject({ what: 'start', track: 'song-7' })
    expect(start!.position).toBeGreaterThanOrEqual(10_000)
    expect(fleet.b.sessions.player('7')).toMatchObject({ playing: true, connected: true })
    expect(bot.ends).toEqual([])
  })

  test('move when the record alone says that their node is draining, and new ones go elsewhere', async () => {
    const { hub, bot, fleet } = await playingOnA(['b'])
    hub.node('a', fleet.a, 'draining')
    await eventually(() => expect(fleet.b.sessions.counts.playingPlayers).toBe(1))
    await bot.play('8', 'song')
    expect(idOf(bot.nodeOf('8'))).toBe('b')
    await eventually(() => expect(fleet.a.sessions.clients).toEqual([]))
    // The drain was called off.
    hub.node('a', fleet.a)
    await eventually(() => expect(fleet.a.sessions.clients).toHaveLength(1))
  })

  test('move a few at a time', async () => {
    const guilds = Array.from({ length: 12 }, (_, i) => `${i + 1}`)
    let most = 0
    let now = 0
    const { hub, bot, fleet } = await playingOnA(['b', 'c'], guilds, { concurrency: 3 })
    const { move } = bot.adapter
    bot.adapter.move = async (...args) => {
      most = Math.max(most, ++now)
      await move(...args).finally(() => now--)
    }
    expect(await hub.ask(...drain('a'))).toEqual({ moved: 12, failed: 0 })
    expect(most).toBe(3)
    expect(fleet.a.sessions.counts.players).toBe(0)
    // None of both was given them all.
    for (const id of ['b', 'c'] as const) expect(fleet[id].sessions.counts.playingPlayers).toBeGreaterThan(2)
    expect(bot.ends).toEqual([])
  })

  test('move at once when their node is killed', async () => {
    const { bot, nodes, fleet } = await playingOnA(['b'], ['7', '8'])
    await fleet.a.kill()
    await eventually(() => expect(fleet.b.sessions.counts.playingPlayers).toBe(2))
    expect(fleet.b.journal.map(({ track }) => track).sort()).toEqual(['song-7', 'song-8'])
    for (const { position } of fleet.b.journal) expect(position).toBeGreaterThanOrEqual(10_000)
    expect(connected(nodes)).toEqual(['b'])
    expect(bot.ends).toEqual([])
  })

  test('wait for a node when there is none, and go on where they were', async () => {
    const { hub, bot, fleet } = await playingOnA([])
    await fleet.a.kill()
    const later = await aLavalink()
    hub.node('later', later)
    await eventually(() => expect(later.sessions.player('7')?.playing).toBe(true))
    expect(later.journal[0]).toMatchObject({ track: 'song-7' })
    expect(later.journal[0]!.position).toBeGreaterThanOrEqual(10_000)
    expect(idOf(bot.nodeOf('7'))).toBe('later')
  })

  test('are made anew on a Lavalink that was restarted', async () => {
    const { bot, fleet } = await playingOnA([])
    await fleet.a.stop()
    await fleet.a.start()
    await eventually(() => expect(fleet.a.sessions.player('7')?.playing).toBe(true))
    expect(idOf(bot.nodeOf('7'))).toBe('a')
    expect(bot.trackOf('7')).toBe('song-7')
  })

  test('leave a node that hangs, and can move again', async () => {
    const { hub, bot, nodes, fleet } = await playingOnA(['b'])
    fleet.a.mood = { kind: 'hanging' }
    expect(await hub.ask(...drain('a'))).toEqual({ moved: 1, failed: 0 })
    expect(fleet.b.sessions.player('7')?.playing).toBe(true)
    const third = await aLavalink()
    hub.node('c', third)
    await eventually(() => expect(connected(nodes)).toContain('c'))
    expect(await hub.ask(...drain('b'))).toEqual({ moved: 1, failed: 0 })
    expect(idOf(bot.nodeOf('7'))).toBe('c')
  })

  test('leave a node that its sidecar cannot reach once it is silent, and not while it tells of them', async () => {
    const { hub, bot, fleet } = await playingOnA(['b'])
    hub.node('a', fleet.a, 'unreachable')
    await bot.play('8', 'song')
    expect(idOf(bot.nodeOf('8'))).toBe('b')
    expect(idOf(bot.nodeOf('7'))).toBe('a')
    fleet.a.mood = { kind: 'hanging' }
    await eventually(() => expect(fleet.b.sessions.player('7')?.playing).toBe(true), { deadlineMs: 20_000 })
    expect(idOf(bot.nodeOf('7'))).toBe('b')
    expect(bot.ends).toEqual([])
  })

  test('come to a slow node, too', async () => {
    const { hub, fleet } = await playingOnA(['b'])
    fleet.b.mood = { kind: 'slow', ms: 300 }
    expect(await hub.ask(...drain('a'))).toEqual({ moved: 1, failed: 0 })
    expect(fleet.b.sessions.player('7')?.playing).toBe(true)
  })

  test('are offered to the next node when one does not take them', async () => {
    const { hub, bot, fleet } = await playingOnA(['b', 'c'])
    fleet.b.stats = { ...fleet.b.stats, players: 0 }
    hub.node('b', fleet.b)
    hub.node('c', fleet.c, 'suspect')
    fleet.b.mood = { kind: 'failing', status: 500 }
    expect(await hub.ask(...drain('a'))).toEqual({ moved: 1, failed: 0 })
    expect(idOf(bot.nodeOf('7'))).toBe('c')
    expect(fleet.c.sessions.player('7')?.playing).toBe(true)
  })

  test('go on playing where they are when nobody takes them, and the sidecar is told', async () => {
    const { hub, bot, fleet } = await playingOnA(['b'])
    fleet.b.mood = { kind: 'failing', status: 500 }
    expect(await hub.ask(...drain('a'))).toEqual({ moved: 0, failed: 1 })
    expect(idOf(bot.nodeOf('7'))).toBe('a')
    expect(fleet.a.sessions.player('7')?.playing).toBe(true)
    fleet.b.mood = { kind: 'well' }
    await eventually(() => expect(fleet.b.sessions.player('7')?.playing).toBe(true))
    expect(bot.ends).toEqual([])
  })

  test('that are paused stay so', async () => {
    const { hub, bot, fleet } = await playingOnA(['b'])
    await bot.pause('7')
    await hub.ask(...drain('a'))
    expect(fleet.b.sessions.player('7')).toMatchObject({ playing: false, connected: true })
    expect(fleet.b.sessions.player('7')!.position).toBeGreaterThanOrEqual(10_000)
  })

  test('stay where they are when nobody but a sidecar wants them to move, and when their node has none', async () => {
    const { hub, fleet } = await playingOnA(['b'])
    await expect(hub.ask('node.drain', { node: 'a' }, 'bot/other')).rejects.toMatchObject({ code: 'denied' })
    await expect(hub.ask('node.drain', 'a', 'sidecar/a')).rejects.toMatchObject({ code: 'bad_field' })
    expect(await hub.ask(...drain('b'))).toEqual({ moved: 0, failed: 0 })
    expect(await hub.ask(...drain('unknown'))).toEqual({ moved: 0, failed: 0 })
    expect(fleet.a.sessions.player('7')?.playing).toBe(true)
  })

  test('are counted by how they start: a node that refuses is told to its sidecar at once, and avoided', async () => {
    const { hub, bot, fleet, nodes } = await playingOnA(['b'])
    hub.node('b', fleet.b, 'suspect')
    fleet.a.load = () => ({ fails: troubles.rate })
    for (let starts = 0; starts < 5; starts++) await bot.play(`${100 + starts}`, 'refused')
    await eventually(() => expect(hub.sent).toHaveLength(1))
    expect(hub.sent[0]).toMatchObject({
      to: 'sidecar/a',
      event: 'node.outcomes',
      value: { node: 'a', starts: 6, failed: { rate: 5 } },
    })
    expect(idOf(nodes.pick())).toBe('b')
  })
})
