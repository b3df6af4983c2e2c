import { limits } from '@damon/protocol/limits'
import { eventually } from '@damon/testkit/eventually'
import { expect, test } from 'vitest'
import { json } from './a-frame.ts'
import { aClient, aHub } from './a-hub.ts'

test('numbers what it sends from 1, and resolves each when it is acknowledged', async () => {
  const hub = await aHub()
  hub.script.frame = ({ type }) => type === 'send'
  const { client } = await aClient(hub)
  await client.ready()
  const done: number[] = []
  const sends = [1, 2, 3].map((n) =>
    client
      .group('bots')
      .send('count', { n })
      .then(() => done.push(n)),
  )
  const connection = await hub.connection(0)
  for (const n of [1, 2, 3])
    expect(await connection.next('send')).toMatchObject({
      number: n,
      to: 'group/bots',
      event: 'count',
      payload: json({ n }),
    })
  connection.send({ type: 'ack', number: 2, origin: 1, seq: 7 })
  await Promise.all(sends.slice(0, 2))
  expect(done).toEqual([1, 2])
  connection.send({ type: 'ack', number: 3, origin: 1, seq: 8 })
  await sends[2]
})

for (const codec of ['binary', 'json'] as const) {
  test(`addresses a client, a group, one of a group and all; bytes stay bytes (${codec})`, async () => {
    const hub = await aHub()
    const { client } = await aClient(hub, { codec })
    await client.ready()
    await client.client('bot', 'two').send('a', 'text')
    await client.group('bots').send('b', new Uint8Array([0, 255]))
    await client.any('bots').send('c')
    await client.all().send('d', null)
    const connection = await hub.connection(0)
    expect(await connection.next('send')).toMatchObject({ to: 'client/bot/two', any: false, payload: json('text') })
    const bytes = await connection.next('send')
    expect(bytes).toMatchObject({ to: 'group/bots', any: false, bytes: true })
    expect([...bytes.payload]).toEqual([0, 255])
    expect(await connection.next('send')).toMatchObject({ to: 'group/bots', any: true, bytes: false })
    expect(await connection.next('send')).toMatchObject({ to: 'all', payload: json(null) })
  })
}

test('a refused send rejects with the hub’s code, the others are not touched', async () => {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type !== 'send' || frame.event !== 'bad') return false
    connection.send({ type: 'error', number: frame.number, code: 'denied', message: 'no', retry: false, field: 'to' })
    connection.send({ type: 'ack', number: frame.number, origin: 1, seq: 1 })
    return true
  }
  const { client } = await aClient(hub)
  const bots = client.group('bots')
  const bad = bots.send('bad')
  await bots.send('good')
  await expect(bad).rejects.toMatchObject({ code: 'denied', field: 'to' })
})

test('what is sent without a connection waits for one, in order', async () => {
  const hub = await aHub()
  hub.script.opened = () => hub.connections.length === 1
  const { client } = await aClient(hub)
  const sends = ['a', 'b', 'c'].map((event) => client.all().send(event))
  const first = await hub.connection(0)
  first.break()
  await Promise.all(sends)
  const second = await hub.connection(1)
  for (const [i, event] of ['a', 'b', 'c'].entries())
    expect(await second.next('send')).toMatchObject({ event, number: i + 1 })
})

test('without a connection in time it rejects as disconnected, and is never sent', async () => {
  const hub = await aHub()
  hub.script.opened = () => true
  const { client } = await aClient(hub, { timeoutMs: 30 })
  await expect(client.all().send('late')).rejects.toMatchObject({ code: 'disconnected', retry: true })
  hub.script = {}
  const first = await hub.connection(0)
  first.break()
  await client.ready()
  await client.all().send('next')
  expect(hub.connections.flatMap(({ frames }) => frames.filter(({ type }) => type === 'send'))).toHaveLength(1)
})

test('sent but not acknowledged in time: the outcome is unknown', async () => {
  const hub = await aHub()
  hub.script.frame = ({ type }) => type === 'send'
  const { client } = await aClient(hub, { timeoutMs: 50 })
  await client.ready()
  await expect(client.all().send('lost')).rejects.toMatchObject({ code: 'unknown_outcome', retry: false })
})

test('an aborted send that waits is withdrawn', async () => {
  const hub = await aHub()
  hub.script.opened = () => hub.connections.length === 1
  const { client } = await aClient(hub)
  const abort = new AbortController()
  const send = client.all().send('no', 1, { signal: abort.signal })
  abort.abort(new Error('changed my mind'))
  await expect(send).rejects.toThrow('changed my mind')
  const first = await hub.connection(0)
  first.break()
  await client.ready()
  await client.all().send('yes')
  expect(hub.connections[1]?.frames.filter(({ type }) => type === 'send')).toMatchObject([{ event: 'yes', number: 1 }])
})

test('a session that is not resumed leaves the unacknowledged unknown, and numbers from 1 again', async () => {
  const hub = await aHub()
  hub.script.frame = ({ type }) => type === 'send'
  const { client } = await aClient(hub)
  await client.ready()
  const first = await hub.connection(0)
  const lost = client.all().send('lost')
  await first.next('send')
  hub.script = {}
  first.break()
  await expect(lost).rejects.toMatchObject({ code: 'unknown_outcome' })
  await client.all().send('next')
  expect(await (await hub.connection(1)).next('send')).toMatchObject({ event: 'next', number: 1, again: false })
})

test('a resumed session repeats what is not done, marked, and goes on counting', async () => {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type === 'hello' && frame.resume) connection.resume({ done: 1 })
    return (
      (frame.type === 'hello' && frame.resume !== undefined) || (frame.type === 'send' && hub.connections.length === 1)
    )
  }
  const { client } = await aClient(hub)
  await client.ready()
  const first = await hub.connection(0)
  const sends = ['a', 'b', 'c'].map((event) => client.all().send(event))
  await first.next('send')
  first.break()
  const second = await hub.connection(1)
  expect(await second.next('send')).toMatchObject({ event: 'b', number: 2, again: true })
  expect(await second.next('send')).toMatchObject({ event: 'c', number: 3, again: true })
  await Promise.all(sends)
  await client.all().send('d')
  expect(await second.next('send')).toMatchObject({ event: 'd', number: 4, again: false })
})

test('no more is unacknowledged than the hub lets wait; the rest goes when there is room', async () => {
  const hub = await aHub()
  hub.script.frame = ({ type }) => type === 'send'
  const { client } = await aClient(hub)
  await client.ready()
  const connection = await hub.connection(0)
  const sends = Array.from({ length: 2 * limits.pendingFrames }, (_, i) => client.all().send('n', i))
  const sent = () => connection.frames.filter(({ type }) => type === 'send').length
  await eventually(() => expect(sent()).toBe(limits.pendingFrames / 2))
  for (let done = sent(); done < sends.length; ) {
    connection.send({ type: 'ack', number: done, origin: 1, seq: done })
    const next = Math.min(done + limits.pendingFrames / 2, sends.length)
    await eventually(() => expect(sent()).toBe(next))
    done = next
  }
  connection.send({ type: 'ack', number: sends.length, origin: 1, seq: sends.length })
  await Promise.all(sends)
})

test('what waits has a bound, beyond which a send is refused at once', async () => {
  const hub = await aHub()
  hub.script.opened = () => true
  const { client } = await aClient(hub)
  const big = new Uint8Array(200 * 1024)
  const waiting = Array.from({ length: 81 }, () => client.all().send('big', big))
  await expect(client.all().send('big', big)).rejects.toMatchObject({ code: 'overloaded', retry: true })
  await client.close()
  for (const send of waiting) await expect(send).rejects.toMatchObject({ code: 'closed' })
})

test('refuses at once what can never go', async () => {
  const hub = await aHub()
  const { client } = await aClient(hub)
  await client.ready()
  const all = client.all()
  await expect(all.send('big', new Uint8Array(limits.frameBytes))).rejects.toMatchObject({ code: 'too_large' })
  await expect(all.send('No Event')).rejects.toMatchObject({ code: 'bad_field', field: 'event' })
  await expect(all.send('function', () => 0)).rejects.toMatchObject({ code: 'bad_field', field: 'value' })
  await expect(all.send('big', 1n)).rejects.toMatchObject({ code: 'bad_field', field: 'value' })
  expect(() => client.group('no group')).toThrow(expect.objectContaining({ code: 'bad_field', field: 'to' }))
  expect(hub.connections[0]?.frames.filter(({ type }) => type === 'send')).toEqual([])
})

test('nobody awaiting a send that fails is no unhandled rejection', async () => {
  const hub = await aHub()
  hub.script.opened = () => true
  const { client } = await aClient(hub)
  const unhandled: unknown[] = []
  const note = (error: unknown) => unhandled.push(error)
  process.on('unhandledRejection', note)
  void client.all().send('a')
  void client.group('bots').request('b')
  void client.put('node/a', 1)
  void client.join('bots')
  void client.ready()
  client.watch('node/')
  client.announce('node/b', 1)
  await client.close()
  await new Promise((resolve) => setImmediate(resolve))
  process.off('unhandledRejection', note)
  expect(unhandled).toEqual([])
})
