import { encodeHubFrame } from '@damon/protocol/codec-binary'
import type { HubControlFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { eventually } from '@damon/testkit/eventually'
import { expect, test } from 'vitest'
import { type AnEntry, json, records } from './a-frame.ts'
import { aClient, aHub } from './a-hub.ts'

type Snapshot = Partial<Extract<HubControlFrame, { type: 'records' }>>

async function reading(entries: AnEntry[], unusual: Snapshot = {}) {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type !== 'get' && frame.type !== 'list') return false
    connection.send(records(frame.id, entries, { snapshot: true, ...unusual }))
    return true
  }
  return { hub, ...(await aClient(hub)) }
}

test('puts, patches and drops, and says what became of it', async () => {
  const hub = await aHub()
  const { client } = await aClient(hub)
  expect(await client.put('node/a', { state: 'ready' }, { lease: true, expect: 0 })).toEqual({
    revision: 1,
    generation: 1,
  })
  expect(await client.patch('node/a', { state: 'draining' })).toEqual({ revision: 2, generation: 1 })
  await client.drop('node/a', 'retired')
  const connection = await hub.connection(0)
  expect(await connection.next('put')).toMatchObject({
    key: 'node/a',
    lease: true,
    expect: 0,
    payload: json({ state: 'ready' }),
  })
  expect(await connection.next('patch')).toMatchObject({ key: 'node/a', payload: json({ state: 'draining' }) })
  expect(await connection.next('drop')).toMatchObject({ key: 'node/a', reason: 'retired' })
})

test('gets one record, or none', async () => {
  const { hub, client } = await reading([{ key: 'node/a', value: json({ load: 1 }), revision: 7, generation: 2 }])
  expect(await client.get('node/a')).toMatchObject({
    key: 'node/a',
    value: { load: 1 },
    bytes: json({ load: 1 }),
    revision: 7,
    generation: 2,
    state: 'live',
    leased: true,
  })
  hub.script = {}
  expect(await client.get('node/a')).toBeUndefined()
})

test('lists what came in several frames; a value that is not JSON stays bytes', async () => {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type !== 'list') return false
    connection.send(records(frame.id, [{ key: 'node/a', value: json(1) }], { snapshot: true, reset: true, more: true }))
    connection.send(
      records(frame.id, [{ key: 'node/b', value: new Uint8Array([255]), change: 'suspect' }], { snapshot: true }),
    )
    return true
  }
  const { client } = await aClient(hub)
  expect(await client.list('node/')).toMatchObject([
    { key: 'node/a', value: 1, state: 'live' },
    { key: 'node/b', value: new Uint8Array([255]), state: 'suspect' },
  ])
})

test('records whose sizes do not fit their frame end the connection, not the process', async () => {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type !== 'get') return false
    connection.sendRaw(encodeHubFrame(records(frame.id, [{ key: 'node/a', value: json(12) }])).subarray(0, -1))
    return true
  }
  const { client, states } = await aClient(hub)
  const get = client.get('node/a')
  await eventually(() => expect(states).toContainEqual(expect.objectContaining({ reason: 'garbled' })))
  await client.close()
  await expect(get).rejects.toMatchObject({ code: 'closed' })
})

test('reads are asked again after a reconnect; the outcome of a write is unknown', async () => {
  const hub = await aHub()
  hub.script.frame = ({ type }) => (type === 'get' || type === 'put') && hub.connections.length === 1
  const { client } = await aClient(hub)
  await client.ready()
  const first = await hub.connection(0)
  const get = client.get('node/a')
  const put = client.put('node/a', 1)
  await first.next('put')
  first.break()
  await expect(put).rejects.toMatchObject({ code: 'unknown_outcome' })
  expect(await get).toBeUndefined()
  expect((await hub.connection(1)).frames.filter(({ type }) => type === 'put')).toEqual([])
})

test('a write without a connection waits for one; without one in time it was not done', async () => {
  const hub = await aHub()
  hub.script.opened = () => hub.connections.length === 1
  const { client } = await aClient(hub, { timeoutMs: 2_000 })
  const put = client.put('node/a', 1)
  const first = await hub.connection(0)
  first.break()
  expect(await put).toMatchObject({ revision: 1 })

  const never = await aHub()
  never.script.opened = () => true
  const { client: waiting } = await aClient(never, { timeoutMs: 30 })
  await expect(waiting.put('node/a', 1)).rejects.toMatchObject({ code: 'disconnected' })
})

test('a hub that does not answer: a read timed out, a write is unknown', async () => {
  const hub = await aHub()
  hub.script.frame = ({ type }) => type === 'get' || type === 'put'
  const { client } = await aClient(hub, { timeoutMs: 100 })
  await client.ready()
  await expect(client.get('node/a')).rejects.toMatchObject({ code: 'timed_out' })
  await expect(client.put('node/a', 1)).rejects.toMatchObject({ code: 'unknown_outcome' })
})

test('refusals carry the hub’s code and field', async () => {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type === 'put')
      connection.send({
        type: 'error',
        id: frame.id,
        code: 'conflict',
        message: 'It has revision 4.',
        retry: false,
        field: 'expect',
      })
    return frame.type === 'put'
  }
  const { client } = await aClient(hub)
  const put = client.put('node/a', 1, { expect: 3 })
  await expect(put).rejects.toMatchObject({ code: 'conflict', field: 'expect' })
  await expect(put).rejects.toThrow('It has revision 4.')
})

test('refuses at once what is no key, and values beyond the limit', async () => {
  const hub = await aHub()
  const { client } = await aClient(hub)
  await client.ready()
  await expect(client.put('Node/a', 1)).rejects.toMatchObject({ code: 'bad_field', field: 'key' })
  await expect(client.get('')).rejects.toMatchObject({ field: 'key' })
  await expect(client.list('node//')).rejects.toMatchObject({ field: 'prefix' })
  await expect(client.put('node/a', 'x'.repeat(limits.recordBytes))).rejects.toMatchObject({ code: 'too_large' })
  await expect(client.put('node/a', 1n)).rejects.toMatchObject({ field: 'value' })
  expect(() => client.watch('node//')).toThrow(expect.objectContaining({ field: 'prefix' }))
  expect(() => client.announce('a//b', 1)).toThrow(expect.objectContaining({ field: 'key' }))
  expect(hub.connections[0]?.frames.map(({ type }) => type)).toEqual(['hello'])
})

test('whatever waits ends when its signal is aborted; what was not sent yet is not sent any more', async () => {
  const hub = await aHub()
  hub.script.opened = () => true
  const { client } = await aClient(hub)
  const abort = new AbortController()
  const { signal } = abort
  const gone = new Error('Gone home.')
  const watch = client.watch('node/', { signal })
  const announcement = client.announce('service/x', 1)
  const waits = [
    client.ready(signal),
    client.join('bots', signal),
    client.get('a', { signal }),
    client.list('', { signal }),
    client.put('a', 1, { signal }),
    client.patch('a', 1, { signal }),
    client.drop('a', 'x', { signal }),
    client.all().send('x', 1, { signal }),
    client.all().request('x', 1, { signal }).all,
    client.watch('other/').ready(signal),
    announcement.ready(signal),
    announcement.update(2, { signal }),
  ]
  abort.abort(gone)
  for (const wait of waits) await expect(wait).rejects.toBe(gone)
  await expect(client.get('a', { signal })).rejects.toBe(gone)
  await watch.ready()
  for await (const change of watch) throw new Error(`A closed watch told of ${change.key}.`)
  const connection = await hub.connection(0)
  hub.script = {}
  connection.send({ type: 'challenge', nonce: '0123456789abcdef', protocol: 'damon.v1', helloMs: 5_000 })
  await client.ready()
  await client.all().send('last')
  // A group that was joined after all is left again: a matter of its own.
  const other = new Set(['hello', 'join', 'leave'])
  const types = connection.frames.map(({ type }) => type).filter((type) => !other.has(type))
  expect(types.sort()).toEqual(['put', 'send', 'watch'])
})

test('a call whose signal is aborted after it was sent leaves its answer unheard', async () => {
  const hub = await aHub()
  hub.script.frame = ({ type }) => type === 'get'
  const { client, errors } = await aClient(hub)
  await client.ready()
  const abort = new AbortController()
  const read = client.get('node/a', { signal: abort.signal })
  const connection = await hub.connection(0)
  const { id } = await connection.next('get')
  abort.abort()
  await expect(read).rejects.toBe(abort.signal.reason)
  connection.send(records(id, [{ key: 'node/a', value: json(1) }], { snapshot: true }))
  await client.all().send('next')
  expect(errors).toEqual([])
})
