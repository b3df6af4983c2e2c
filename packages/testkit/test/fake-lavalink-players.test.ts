import { once } from 'node:events'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { eventually } from '../src/eventually.ts'
import { FakeLavalink, type FakeLavalinkOptions } from '../src/fake-lavalink.ts'
import { trackOf, troubles } from '../src/fake-tracks.ts'

type Message = Record<string, unknown> & { op: string; sessionId?: string; resumed?: boolean }

const voice = { token: 't', endpoint: 'fra1.discord.example', sessionId: 'v', channelId: '1' }

async function aLavalink(options?: FakeLavalinkOptions): Promise<FakeLavalink> {
  const fake = await FakeLavalink.start(options)
  onTestFinished(() => fake.kill())
  return fake
}

/** A client as bots' libraries are one: a WebSocket, and requests about the session that it was given. */
async function aClient(fake: FakeLavalink, headers: Record<string, string> = {}) {
  const socket = new WebSocket(`${fake.url.replace('http', 'ws')}/v4/websocket`, {
    headers: { Authorization: fake.password, 'User-Id': '42', 'Client-Name': 'test/1', ...headers },
  })
  const messages: Message[] = []
  socket.on('message', (data) => messages.push(JSON.parse(String(data))))
  const closed = new Promise<number>((resolve) => socket.once('close', resolve))
  await once(socket, 'open')
  onTestFinished(() => socket.terminate())
  const ready = await eventually(() => {
    expect(messages[0]).toMatchObject({ op: 'ready' })
    return messages[0]!
  })
  const ask = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(`${fake.url}/v4/sessions/${ready.sessionId}${path}`, {
      method,
      headers: { Authorization: fake.password, 'Content-Type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return { status: response.status, body: response.status === 204 ? undefined : await response.json() }
  }
  const events = () => messages.filter(({ op }) => op === 'event').map(({ type, reason }) => [type, reason].join(' '))
  return { socket, messages, ready, closed, ask, events: () => events().map((text) => text.trim()) }
}

test('takes clients that know the password and say which bot they are: ready, then stats', async () => {
  const fake = await aLavalink()
  const { messages, ready } = await aClient(fake)
  expect(ready).toEqual({ op: 'ready', resumed: false, sessionId: expect.any(String) })
  await eventually(() => expect(messages[1]).toMatchObject({ op: 'stats', players: 0, frameStats: null }))
  await expect(aClient(fake, { Authorization: 'guess' })).rejects.toThrow('401')
  await expect(aClient(fake, { 'User-Id': '0' })).rejects.toThrow('400')
  expect(fake.sessions.clients).toMatchObject([{ client: 'test/1', user: '42' }])
})

test('plays by the clock: start, position, end, and counts who plays', async () => {
  const fake = await aLavalink({ playerUpdateMs: 20 })
  const { ask, events, messages } = await aClient(fake)
  const track = { encoded: trackOf('song@150').encoded }
  expect(await ask('PATCH', '/players/7', { track, voice, volume: 80 })).toMatchObject({
    status: 200,
    body: { guildId: '7', track: { info: { identifier: 'song@150', length: 150 } }, volume: 80 },
  })
  expect(fake.sessions.counts).toEqual({ players: 1, playingPlayers: 1 })
  await eventually(() => expect(events()).toEqual(['TrackStartEvent', 'TrackEndEvent finished']))
  const updates = messages.filter(({ op }) => op === 'playerUpdate').map(({ state }) => state as { position: number })
  expect(updates[0]).toMatchObject({ position: 0, connected: true })
  expect(updates.some(({ position }) => position > 0)).toBe(true)
  expect(fake.sessions.counts).toEqual({ players: 1, playingPlayers: 0 })
  expect(fake.journal).toMatchObject([
    { guild: '7', what: 'start', track: 'song@150', position: 0 },
    { guild: '7', what: 'end', track: 'song@150', position: 150, reason: 'finished' },
  ])
})

test('replaces, pauses, seeks, stops and destroys as it is asked', async () => {
  const fake = await aLavalink()
  const { ask, events } = await aClient(fake)
  await ask('PATCH', '/players/7', { track: { identifier: 'a' }, position: 60_000, voice })
  await ask('PATCH', '/players/7?noReplace=true', { track: { identifier: 'b' } })
  expect(events()).toEqual(['TrackStartEvent'])
  await ask('PATCH', '/players/7', { paused: true })
  const paused = (await ask('GET', '/players/7')).body as { state: { position: number } }
  expect(paused.state.position).toBeGreaterThanOrEqual(60_000)
  expect((await ask('GET', '/players/7')).body).toMatchObject({ state: { position: paused.state.position } })
  await ask('PATCH', '/players/7', { paused: false, position: 90_000 })
  await ask('PATCH', '/players/7', { track: { identifier: 'b' } })
  await ask('PATCH', '/players/7', { track: { encoded: null } })
  await ask('PATCH', '/players/7', { track: { identifier: 'c' } })
  expect((await ask('DELETE', '/players/7')).status).toBe(204)
  expect((await ask('GET', '/players/7')).status).toBe(404)
  await eventually(() =>
    expect(events()).toEqual([
      'TrackStartEvent',
      'TrackEndEvent replaced',
      ...['TrackStartEvent', 'TrackEndEvent stopped'],
      ...['TrackStartEvent', 'TrackEndEvent stopped'],
    ]),
  )
})

test('does not play what YouTube refuses, and tells the root cause to the player’s own client', async () => {
  const fake = await aLavalink()
  const { ask, events, messages } = await aClient(fake)
  await ask('PATCH', '/players/1', { track: { identifier: 'before' }, voice })
  fake.load = () => ({ fails: troubles.rate })
  await ask('PATCH', '/players/7', { track: { identifier: 'song' }, voice })
  await eventually(() =>
    expect(events().slice(1)).toEqual(['TrackStartEvent', 'TrackExceptionEvent', 'TrackEndEvent loadFailed']),
  )
  expect(messages.find(({ type }) => type === 'TrackExceptionEvent')).toMatchObject({
    exception: { cause: expect.stringContaining('RateLimitException') },
  })
  expect(fake.sessions.counts).toEqual({ players: 2, playingPlayers: 1 })
})

test('keeps a session that may be resumed, and tells later what happened meanwhile', async () => {
  const fake = await aLavalink()
  const first = await aClient(fake)
  expect((await first.ask('PATCH', '', { resuming: true, timeout: 60 })).body).toEqual({ resuming: true, timeout: 60 })
  await first.ask('PATCH', '/players/7', { track: { identifier: 'song@100' }, voice })
  fake.sessions.hangUp()
  expect(await first.closed).toBe(1006)
  await eventually(() => expect(fake.journal.at(-1)).toMatchObject({ what: 'end', reason: 'finished' }))
  expect(fake.sessions.counts.players).toBe(0)
  const second = await aClient(fake, { 'Session-Id': first.ready.sessionId! })
  expect(second.ready).toMatchObject({ resumed: true, sessionId: first.ready.sessionId })
  await eventually(() => expect(second.events()).toContain('TrackEndEvent finished'))
  expect(fake.sessions.counts.players).toBe(1)
})

test('ends sessions with 1001 when stopped and without a word when killed; their players are gone', async () => {
  const fake = await aLavalink()
  const first = await aClient(fake)
  await first.ask('PATCH', '/players/7', { track: { identifier: 'song' }, voice })
  await fake.stop()
  expect(await first.closed).toBe(1001)
  await fake.start()
  const second = await aClient(fake, { 'Session-Id': first.ready.sessionId! })
  expect(second.ready.resumed).toBe(false)
  await fake.kill()
  expect(await second.closed).toBe(1006)
  expect(fake.journal.map(({ what, reason }) => [what, reason])).toEqual([
    ['start', undefined],
    ['end', 'killed'],
  ])
})

test('says nothing while hanging and nonsense while lying', async () => {
  const fake = await aLavalink()
  const { messages } = await aClient(fake)
  fake.mood = { kind: 'lying', body: 'other-json' }
  fake.sessions.tellStats()
  await eventually(() => expect(messages.at(-1)).toEqual({ op: 'news', players: 'many' }))
  fake.mood = { kind: 'hanging' }
  fake.sessions.tellStats()
  fake.mood = { kind: 'well' }
  fake.sessions.tellStats()
  await eventually(() => expect(messages.at(-1)).toMatchObject({ op: 'stats' }))
  expect(messages.filter(({ op }) => op !== 'stats' && op !== 'ready')).toHaveLength(1)
})
