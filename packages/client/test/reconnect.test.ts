import { lookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { eventually } from '@damon/testkit/eventually'
import { expect, test, vi } from 'vitest'
import { Backoff } from '../src/backoff.ts'
import { aClient, aHub } from './a-hub.ts'

test('delays are random below a bound that doubles to its maximum, and starts again', () => {
  const highest = new Backoff({ baseMs: 250, maxMs: 1_500 }, () => 1)
  expect([highest.next(), highest.next(), highest.next(), highest.next(), highest.next()]).toEqual([
    250, 500, 1_000, 1_500, 1_500,
  ])
  highest.reset()
  expect(highest.next()).toBe(250)
  const lowest = new Backoff({ baseMs: 250, maxMs: 1_500 }, () => 0)
  expect([lowest.next(), lowest.next()]).toEqual([0, 0])
})

test('comes back after a broken line, and asks to resume', async () => {
  const hub = await aHub()
  const { client, states } = await aClient(hub)
  await client.ready()
  const first = await hub.connection(0)
  await first.next('hello')
  first.break()
  const second = await hub.connection(1)
  expect(await second.next('hello')).toMatchObject({ resume: { session: first.session, ticket: 'ticket' } })
  await client.ready()
  expect(states.map(({ state, reason }) => [state, reason])).toEqual([
    ['connected', undefined],
    ['reconnecting', 'lost'],
    ['connected', undefined],
  ])
  expect(client.session).toBe(second.session)
})

test('a close code names its reason', async () => {
  const hub = await aHub()
  const { client, states } = await aClient(hub)
  await client.ready()
  hub.connections[0]?.close(3000, 'restarting')
  await hub.connection(1)
  await client.ready()
  expect(states[1]).toMatchObject({ state: 'reconnecting', reason: 'restarting', error: { code: 'disconnected' } })
})

test('whoever waits for it to be ready waits over every failed attempt', async () => {
  const hub = await aHub()
  const { client, states } = await aClient(hub)
  await client.ready()
  hub.script.opened = (connection) => {
    if (hub.connections.length > 4) return false
    connection.break()
    return true
  }
  const away = new Promise((resolve) => client.on('state', resolve))
  hub.connections[0]?.break()
  await away
  await client.ready()
  expect(states.filter(({ state }) => state === 'reconnecting')).toHaveLength(4)
})

test('is up although the hub was down when it started', async () => {
  const gone = await aHub()
  await gone[Symbol.asyncDispose]()
  const hub = await aHub()
  const { client, states } = await aClient(hub, { urls: [gone.url, hub.url] })
  await client.ready()
  expect(states).toMatchObject([
    { state: 'connecting', reason: 'unreachable', url: gone.url },
    { state: 'connected', url: hub.url },
  ])
})

test('tries its hubs in turn, beginning with the one that worked', async () => {
  const one = await aHub()
  const two = await aHub()
  const { client, states } = await aClient(one, { urls: [one.url, two.url] })
  await client.ready()
  one.connections[0]?.break()
  await one.connection(1)
  await client.ready()
  expect(two.connections).toHaveLength(0)
  await one[Symbol.asyncDispose]()
  await two.connection(0)
  await client.ready()
  expect(states.at(-1)).toMatchObject({ state: 'connected', url: two.url })
})

test('resolves the host name afresh for each attempt', async () => {
  const hub = await aHub()
  let asked = 0
  const counting = ((name, options, callback) => {
    asked++
    lookup(name, options, callback as never)
  }) as LookupFunction
  const { client } = await aClient(hub, { urls: [hub.url.replace('127.0.0.1', 'localhost')], lookup: counting })
  await client.ready()
  hub.connections[0]?.break()
  await hub.connection(1)
  await client.ready()
  expect(asked).toBe(2)
})

test('notices a hub that fell silent, and comes back', async () => {
  const hub = await aHub({ heartbeatMs: 60 })
  const { client, states } = await aClient(hub)
  await client.ready()
  const first = await hub.connection(0)
  await first.next('ping')
  first.swallow()
  await hub.connection(1)
  await client.ready()
  expect(states[1]).toMatchObject({ state: 'reconnecting', reason: 'silent', error: { code: 'disconnected' } })
})

test('a hub that answers pings is not taken for silent', async () => {
  const hub = await aHub({ heartbeatMs: 1_000 })
  const { client, states } = await aClient(hub)
  await client.ready()
  const connection = await hub.connection(0)
  for (let i = 0; i < 3; i++) await connection.next('ping')
  expect(states).toHaveLength(1)
})

test('leaves when the hub asks, for a hub of its own file that the hub names', async () => {
  const one = await aHub()
  const two = await aHub()
  const { client, states } = await aClient(one, { urls: [one.url, two.url] })
  await client.ready()
  one.connections[0]?.send({
    type: 'goaway',
    reason: 'rolling',
    afterMs: 0,
    withinMs: 10,
    hubs: ['wss://elsewhere.example', two.url],
  })
  await two.connection(0)
  await client.ready()
  expect(states.map(({ reason, url }) => [reason, url])).toEqual([
    [undefined, one.url],
    ['goaway', one.url],
    [undefined, two.url],
  ])
  expect(one.connections[0]?.frames.some(({ type }) => type === 'bye')).toBe(false)
})

test.each([
  ['bytes that are no frame', new Uint8Array([200, 1, 2, 3])],
  ['a frame cut short', new Uint8Array([64, 0, 0])],
  ['text where binary was agreed', '{"type":"pong"}'],
  ['a second challenge', undefined],
])('%s: a coded error and a new connection, no crash', async (_what, garbage) => {
  const hub = await aHub()
  const { client, states } = await aClient(hub)
  await client.ready()
  const first = await hub.connection(0)
  if (garbage === undefined) first.send({ type: 'challenge', nonce: 'n', protocol: 'damon.v1', helloMs: 1 })
  else first.sendRaw(garbage)
  await hub.connection(1)
  await client.ready()
  expect(states[1]?.reason).toBe('garbled')
  expect(['bad_frame', 'bad_field', 'unexpected_frame']).toContain(states[1]?.error?.code)
})

test('garbage instead of a challenge is survived as well', async () => {
  const hub = await aHub()
  hub.script.opened = (connection) => {
    if (hub.connections.length > 1) return false
    connection.sendRaw('{"type":')
    return true
  }
  const { client, states } = await aClient(hub, { codec: 'json' })
  await client.ready()
  expect(states).toMatchObject([{ state: 'connecting', reason: 'garbled' }, { state: 'connected' }])
})

test('a terminal close later on ends it: nothing is dialled, everything rejects with the reason', async () => {
  const hub = await aHub()
  const { client, states } = await aClient(hub)
  await client.ready()
  hub.connections[0]?.close(3504, 'token_expired')
  await eventually(() => expect(client.state).toBe('closed'))
  expect(states.at(-1)).toMatchObject({ state: 'closed', reason: 'token_expired', error: { code: 'token_expired' } })
  await expect(client.ready()).rejects.toMatchObject({ code: 'token_expired' })
  await expect(client.group('bots').send('hello')).rejects.toMatchObject({ code: 'token_expired' })
  await expect(client.get('node/a')).rejects.toMatchObject({ code: 'token_expired' })
  await expect(client.group('bots').request('hello')).rejects.toMatchObject({ code: 'token_expired' })
  expect(hub.connections).toHaveLength(1)
})

test('a listener that throws disturbs nobody, and is told as an error', async () => {
  const hub = await aHub()
  const { client, errors } = await aClient(hub)
  const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
  const heard: string[] = []
  client.on('state', () => {
    throw new Error('mine')
  })
  client.on('state', ({ state }) => heard.push(state))
  client.on('error', () => {
    throw new Error('worse')
  })
  await client.ready()
  await eventually(() => expect(heard).toEqual(['connected']))
  expect(errors).toMatchObject([{ message: 'mine' }])
  expect(warn).toHaveBeenCalledWith(expect.objectContaining({ message: 'worse' }))
})

test('groups come back with the hello; those left do not', async () => {
  const hub = await aHub()
  const { client } = await aClient(hub, { groups: ['a'] })
  await client.join('b')
  await client.join('c')
  await client.leave('a')
  hub.connections[0]?.break()
  const second = await hub.connection(1)
  expect((await second.next('hello')).groups).toEqual(['b', 'c'])
})

test('a group that is denied is not asked for again', async () => {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type === 'join')
      connection.send({ type: 'error', id: frame.id, code: 'denied', message: '', retry: false })
    return frame.type === 'join'
  }
  const { client } = await aClient(hub)
  await expect(client.join('secret')).rejects.toMatchObject({ code: 'denied' })
  await expect(client.join('No!')).rejects.toMatchObject({ code: 'bad_field', field: 'group' })
  hub.connections[0]?.break()
  const second = await hub.connection(1)
  expect((await second.next('hello')).groups).toEqual([])
})
