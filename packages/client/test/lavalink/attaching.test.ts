import { eventually } from '@damon/testkit/eventually'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { aFleet, aLavalink, connected, idOf } from './a-fleet.ts'
import { realBots } from './real-bots.ts'

// lavalink-client also prints what it emits.
beforeEach(() => {
  const printing = vi.spyOn(console, 'error').mockImplementation(() => {})
  return () => printing.mockRestore()
})

describe.each(Object.entries(realBots))('the nodes of %s', (_library, makeBot) => {
  test('are those that are announced, each connected once', async () => {
    const { hub, bot, nodes, fleet } = await aFleet(makeBot, ['a', 'b'])
    const later = await aLavalink()
    hub.node('unreached', later, 'unreachable')
    hub.node('old', later, 'ready', { api: 'v3' })
    hub.node('c', later)
    hub.node('c', later, 'suspect')
    await eventually(() => expect(connected(nodes)).toEqual(['a', 'b', 'c']))
    expect(bot.adapter.nodes().map(({ name }) => idOf(name))).toEqual(['a', 'b', 'c'])
    for (const lavalink of [fleet.a, fleet.b, later]) expect(lavalink.upgrades).toBe(1)
  })

  test('leave nothing behind when retired: no connection, no attempt to connect', async () => {
    const { hub, nodes, bot, fleet } = await aFleet(makeBot, ['a', 'b'])
    hub.retire('a')
    await eventually(() => expect(fleet.a.sessions.clients).toEqual([]))
    hub.node('after', await aLavalink())
    await eventually(() => expect(connected(nodes)).toEqual(['after', 'b']))
    expect(bot.adapter.nodes().map(({ name }) => idOf(name))).toEqual(['b', 'after'])
    expect(fleet.a.upgrades).toBe(1)
  })

  test('leave nothing behind when retired in the middle of a handshake', async () => {
    const { hub, nodes, bot } = await aFleet(makeBot, ['a'])
    const slow = await aLavalink()
    slow.mood = { kind: 'slow', ms: 200 }
    hub.node('slow', slow)
    await eventually(() => expect(slow.upgrades).toBe(1))
    hub.retire('slow')
    await eventually(() => expect(bot.adapter.nodes().map(({ name }) => idOf(name))).toEqual(['a']))
    // A second handshake, begun later, is done: the first one is, too.
    hub.node('again', slow)
    await eventually(() => expect(connected(nodes)).toEqual(['a', 'again']))
    await eventually(() => expect(slow.sessions.clients).toHaveLength(1))
    expect(slow.upgrades).toBe(2)
  })

  test('come back after an outage, however many attempts that took, each with one connection', async () => {
    const { nodes, fleet, bot } = await aFleet(makeBot, ['a', 'b'])
    await fleet.a.kill()
    await eventually(() => expect(connected(nodes)).toEqual(['b']))
    fleet.a.mood = { kind: 'failing', status: 503 }
    const before = fleet.a.upgrades
    await fleet.a.start()
    await eventually(() => expect(fleet.a.upgrades).toBeGreaterThan(before + 1))
    fleet.a.mood = { kind: 'well' }
    await eventually(() => expect(connected(nodes)).toEqual(['a', 'b']))
    expect(fleet.a.sessions.clients).toHaveLength(1)
    expect(bot.adapter.nodes()).toHaveLength(2)
  })

  test('come back after a hiccup, and are avoided for a while', async () => {
    const { nodes, fleet, bot } = await aFleet(makeBot, ['a', 'b'])
    for (let hiccups = 0; hiccups < 3; hiccups++) {
      const { upgrades } = fleet.a
      fleet.a.sessions.hangUp()
      await eventually(() => {
        expect(fleet.a.upgrades).toBeGreaterThan(upgrades)
        expect(connected(nodes)).toEqual(['a', 'b'])
      })
    }
    expect(fleet.a.sessions.clients).toHaveLength(1)
    expect(nodes.all().find(({ id }) => id === 'a')).toMatchObject({ ejected: true })
    for (const guild of ['1', '2', '3', '4']) {
      await bot.play(guild, 'song')
      expect(idOf(bot.nodeOf(guild))).toBe('b')
    }
  })

  test('get another connection with another password or address, and their players go over to it', async () => {
    const { hub, bot, nodes, fleet } = await aFleet(makeBot, ['a'])
    await bot.play('7', 'song')
    const before = bot.nodeOf('7')
    const renewed = await aLavalink({ password: 'another' })
    hub.node('a', renewed)
    await eventually(() => expect(renewed.sessions.player('7')?.playing).toBe(true))
    await eventually(() => expect(fleet.a.sessions.clients).toEqual([]))
    expect(idOf(bot.nodeOf('7'))).toBe('a')
    expect(bot.nodeOf('7')).not.toBe(before)
    expect(connected(nodes)).toEqual(['a'])
  })

  test('stay in use while nobody speaks for them, until somebody says that they are retired', async () => {
    const { hub, bot, nodes, fleet } = await aFleet(makeBot, ['a', 'b'])
    await bot.play('7', 'song')
    for (const id of ['a', 'b'] as const) {
      hub.retire(id, id === 'a' ? 'expired' : 'unseen')
      expect(nodes.all().find((node) => node.id === id)).toMatchObject({ unattended: true, connected: true })
    }
    await bot.play('8', 'song')
    expect(fleet.a.sessions.counts.playingPlayers + fleet.b.sessions.counts.playingPlayers).toBe(2)
    // The hub is back with its records: nothing was connected anew.
    hub.node('a', fleet.a)
    hub.node('b', fleet.b)
    expect(nodes.all()).toMatchObject([{ unattended: false }, { unattended: false }])
    hub.retire('a')
    await eventually(() => expect(fleet.b.sessions.counts.playingPlayers).toBe(2))
    expect([fleet.a.upgrades, fleet.b.upgrades]).toEqual([1, 1])
    expect(bot.ends).toEqual([])
  })

  test('that lie harm nobody', async () => {
    const { hub, nodes, bot } = await aFleet(makeBot, ['a'])
    for (const body of ['other-json', 'no-json'] as const) {
      const liar = await aLavalink()
      liar.mood = { kind: 'lying', body }
      hub.node(`liar-${body}`, liar)
      await eventually(() => expect(liar.upgrades).toBeGreaterThan(0))
    }
    await bot.play('7', 'song')
    expect(idOf(bot.nodeOf('7'))).toBe('a')
    expect(connected(nodes)).toEqual(['a'])
  })

  test('that the bot had before are left alone, and used when there is no other', async () => {
    const { hub, bot, nodes } = await aFleet(makeBot, ['a'])
    const own = await aLavalink()
    bot.adapter.add({ name: 'own', host: '127.0.0.1', port: own.port, secure: false, password: own.password })
    await eventually(() => expect(bot.adapter.nodes()).toContainEqual({ name: 'own', state: 'connected' }))
    expect(idOf(nodes.pick())).toBe('a')
    hub.retire('a')
    await bot.play('7', 'song')
    expect(bot.nodeOf('7')).toBe('own')
    expect(own.sessions.counts.playingPlayers).toBe(1)
  })

  test('stay as they are when the bot lets go', async () => {
    const { hub, nodes, bot, fleet } = await aFleet(makeBot, ['a'])
    nodes[Symbol.dispose]()
    hub.retire('a')
    await bot.play('7', 'song')
    expect(fleet.a.sessions.counts.playingPlayers).toBe(1)
  })
})

test('a node that lavalink-client cannot use is told, and disturbs no other', async () => {
  const { hub, nodes, fleet } = await aFleet(realBots['lavalink-client'], ['a'])
  const errors: unknown[] = []
  nodes.on('error', (error) => errors.push(error))
  hub.node('tls', fleet.a, 'ready', { address: { host: '127.0.0.1', port: 8443, secure: true } })
  await eventually(() => expect(errors).toMatchObject([{ message: expect.stringContaining('port must be 443') }]))
  expect(connected(nodes)).toEqual(['a'])
})

test('lavalink-client plays although it had no node when it began', async () => {
  const { bot, fleet } = await aFleet(realBots['lavalink-client'], ['a'])
  await bot.play('7', 'song')
  expect(fleet.a.sessions.player('7')).toMatchObject({ playing: true, connected: true })
})

test('shoukaku forgets no node whose first attempt to connect failed', async () => {
  const { hub, nodes } = await aFleet(realBots.shoukaku, ['a'])
  const late = await aLavalink()
  await late.stop()
  hub.node('late', late)
  await eventually(() => expect(nodes.all().find(({ id }) => id === 'late')).toMatchObject({ connected: false }))
  await late.start()
  await eventually(() => expect(connected(nodes)).toEqual(['a', 'late']))
  expect(late.sessions.clients).toHaveLength(1)
})
