import { eventually } from '@damon/testkit/eventually'
import { expect, test } from 'vitest'
import { Positions } from '../src/positions.ts'
import { json, message, verdict } from './a-frame.ts'
import { aClient, aHub } from './a-hub.ts'

async function listening(options: Parameters<typeof aClient>[1] = {}) {
  const hub = await aHub()
  const { client, states, errors } = await aClient(hub, options)
  const heard: unknown[] = []
  client.receive('*', (value) => heard.push(value))
  await client.ready()
  const connection = await hub.connection(0)
  return { hub, client, connection, heard, states, errors }
}

for (const codec of ['binary', 'json'] as const) {
  test(`hears messages with what the hub knows of them (${codec})`, async () => {
    const { client, connection } = await listening({ codec })
    const heard: unknown[] = []
    client.receive('player.*', (value, about) => heard.push([value, about]))
    connection.send(message({ event: 'other', seq: 1 }))
    connection.send(message({ event: 'player.start', seq: 2, payload: json({ track: 'ä' }) }))
    connection.send(message({ event: 'player.raw', seq: 3, bytes: true, payload: new Uint8Array([1, 255]), any: true }))
    await eventually(() => expect(heard).toHaveLength(2))
    const about = { from: 'bot/two', session: '00000000000000aa', to: 'group/bots', late: false }
    expect(heard[0]).toEqual([{ track: 'ä' }, { event: 'player.start', any: false, ...about }])
    expect(heard[1]).toEqual([new Uint8Array([1, 255]), { event: 'player.raw', any: true, ...about }])
  })
}

test('drops what is not above its position, per origin and destination', async () => {
  const { connection, heard } = await listening()
  connection.send(message({ seq: 5, payload: json('a') }))
  connection.send(message({ seq: 5, payload: json('twice') }))
  connection.send(message({ seq: 4, payload: json('old') }))
  connection.send(message({ seq: 4, to: 'all', payload: json('b') }))
  connection.send(message({ seq: 3, origin: 2, payload: json('c') }))
  connection.send(message({ seq: 3, any: true, payload: json('d') }))
  connection.send(message({ seq: 6, payload: json('e') }))
  await eventually(() => expect(heard).toEqual(['a', 'b', 'c', 'd', 'e']))
})

test('drops a repeated message whose number it has seen from that session on that destination', async () => {
  const { connection, heard } = await listening()
  connection.send(message({ seq: 1, number: 7, payload: json('a') }))
  connection.send(message({ seq: 1, origin: 2, number: 7, again: true, payload: json('twice') }))
  connection.send(
    message({ seq: 2, origin: 2, number: 7, again: true, session: '00000000000000bb', payload: json('b') }),
  )
  connection.send(message({ seq: 3, origin: 2, number: 7, again: true, to: 'all', payload: json('c') }))
  connection.send(message({ seq: 4, origin: 2, number: 8, again: true, payload: json('d') }))
  await eventually(() => expect(heard).toEqual(['a', 'b', 'c', 'd']))
})

test('repeats what was for any member though its sender has said more to this one meanwhile', async () => {
  const { client, connection, heard } = await listening()
  const own = { session: client.session ?? '', from: 'bot/one' }
  // To a request of its own that it answered itself: faster than what waits for the log, which is lost with its worker.
  connection.send(verdict({ ...own, seq: 1, number: 8 }))
  connection.send(message({ ...own, seq: 1, origin: 2, number: 6, again: true, any: true, payload: json('a') }))
  connection.send(message({ ...own, seq: 2, origin: 2, number: 6, again: true, any: true, payload: json('twice') }))
  connection.send(message({ ...own, seq: 3, origin: 2, number: 7, again: true, any: true, payload: json('b') }))
  await eventually(() => expect(heard).toEqual(['a', 'b']))
})

test('says of a message that it comes after later ones of its sender, whether the hub knows or not', async () => {
  const { client, connection } = await listening()
  const late: unknown[] = []
  client.receive('*', (value, about) => late.push([value, about.late]))
  connection.send(message({ seq: 9, number: 4, payload: json('a') }))
  connection.send(message({ seq: 1, number: 3, to: 'all', payload: json('b') }))
  connection.send(message({ seq: 2, number: 3, to: 'all', session: '00000000000000bb', payload: json('c') }))
  connection.send(message({ seq: 1, number: 5, origin: 2, payload: json('d') }))
  connection.send(message({ seq: 2, number: 6, origin: 2, late: true, payload: json('e') }))
  await eventually(() =>
    expect(late).toEqual([
      ['a', false],
      ['b', true],
      ['c', false],
      ['d', false],
      ['e', true],
    ]),
  )
})

test('a new session takes its positions from the welcome', async () => {
  const { hub, client, connection, heard } = await listening()
  hub.script.frame = (frame, next) => {
    if (frame.type === 'hello') next.welcome({ positions: [{ origin: 1, to: 'group/bots', seq: 2 }] })
    return frame.type === 'hello'
  }
  connection.send(message({ seq: 90, payload: json('a') }))
  await eventually(() => expect(heard).toHaveLength(1))
  connection.break()
  const second = await hub.connection(1)
  await client.ready()
  second.send(message({ seq: 2, payload: json('before') }))
  second.send(message({ seq: 3, number: 2, payload: json('b') }))
  await eventually(() => expect(heard).toEqual(['a', 'b']))
})

test('tells of a gap, and does not wait for what is in it', async () => {
  const { client, connection, heard } = await listening()
  const gaps: unknown[] = []
  client.on('gap', (gap) => gaps.push(gap))
  connection.send({ type: 'gap', origin: 1, to: 'group/bots', from: 3, until: 9 })
  connection.send(message({ seq: 9, payload: json('lost') }))
  connection.send(message({ seq: 10, payload: json('a') }))
  await eventually(() => expect(heard).toEqual(['a']))
  expect(gaps).toEqual([{ origin: 1, to: 'group/bots', from: 3, until: 9 }])
})

test('a payload that is not JSON, and a listener that throws, are errors of their own', async () => {
  const { client, connection, heard, errors } = await listening()
  client.receive('hello', () => {
    throw new Error('mine')
  })
  client.receive('hello', async () => {
    throw new Error('mine, later')
  })
  connection.send(message({ seq: 1, payload: new Uint8Array([0xff]) }))
  connection.send(message({ seq: 2, payload: json('a') }))
  await eventually(() => expect(heard).toEqual(['a']))
  await eventually(() => expect(errors).toHaveLength(3))
  expect(errors).toMatchObject([{ code: 'bad_field' }, { message: 'mine' }, { message: 'mine, later' }])
})

test('a listener that is disposed hears nothing more', async () => {
  const { client, connection, heard } = await listening()
  const once: unknown[] = []
  const listener = client.receive('hello', (value) => once.push(value))
  connection.send(message({ seq: 1, payload: json(1) }))
  await eventually(() => expect(once).toEqual([1]))
  listener[Symbol.dispose]()
  connection.send(message({ seq: 2, payload: json(2) }))
  await eventually(() => expect(heard).toEqual([1, 2]))
  expect(once).toEqual([1])
})

test('positions are forgotten with their group', () => {
  const positions = new Positions()
  expect(positions.pass(1, 'group/a', 4)).toBe(true)
  expect(positions.pass(1, 'group/b', 4)).toBe(true)
  positions.forget('group/a')
  expect(positions.list()).toEqual([{ origin: 1, to: 'group/b', seq: 4 }])
  expect(positions.pass(1, 'group/a', 4)).toBe(true)
})
