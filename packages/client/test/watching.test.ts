import { digestOf } from '@damon/protocol/digest'
import { eventually } from '@damon/testkit/eventually'
import { expect, test } from 'vitest'
import type { RecordChange } from '../src/watch.ts'
import { type AnEntry, json, records } from './a-frame.ts'
import { aClient, aHub } from './a-hub.ts'

const snapshot = { snapshot: true, reset: true }

/** A client that watches `node/`, whose hub answers each watch with the snapshot of that connection. */
async function watching(...snapshots: AnEntry[][]) {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type !== 'watch') return false
    connection.send(records(frame.id, snapshots[hub.connections.length - 1] ?? [], { ...snapshot, revision: 50 }))
    return true
  }
  const { client, errors } = await aClient(hub)
  const watch = client.watch('node/')
  const changes: RecordChange[] = []
  watch.on('change', (change) => changes.push(change))
  await watch.ready()
  const connection = await hub.connection(0)
  const { id } = await connection.next('watch')
  return { hub, client, watch, changes, connection, id, errors }
}

/** Changes in short. */
const short = (changes: RecordChange[]) =>
  changes.map(({ type, key, entry, reason }) => [type, key, entry?.value ?? reason])

test('first all records, then every change', async () => {
  const { watch, changes, connection, id } = await watching([
    { key: 'node/a', value: json(1), revision: 1 },
    { key: 'node/b', value: json(2), revision: 2, change: 'suspect' },
  ])
  expect(short(changes)).toEqual([
    ['put', 'node/a', 1],
    ['suspect', 'node/b', 2],
  ])
  expect([...watch.entries.keys()]).toEqual(['node/a', 'node/b'])
  connection.send(records(id, [{ key: 'node/c', value: json(3), revision: 3 }]))
  connection.send(
    records(id, [
      { key: 'node/a', change: 'suspect', revision: 4 },
      { key: 'node/b', change: 'drop', revision: 5, reason: 'expired' },
    ]),
  )
  connection.send(records(id, [{ key: 'node/a', value: json(1), revision: 6, generation: 2 }]))
  await eventually(() => expect(changes).toHaveLength(6))
  expect(short(changes.slice(2))).toEqual([
    ['put', 'node/c', 3],
    ['suspect', 'node/a', 1],
    ['drop', 'node/b', 'expired'],
    ['put', 'node/a', 1],
  ])
  expect(watch.entries.get('node/a')).toMatchObject({ state: 'live', generation: 2, revision: 6 })
  expect(watch.entries.has('node/b')).toBe(false)
})

test('a snapshot in slices is one', async () => {
  const hub = await aHub()
  hub.script.frame = ({ type }) => type === 'watch'
  const { client } = await aClient(hub)
  const watch = client.watch('node/')
  const connection = await hub.connection(0)
  const { id } = await connection.next('watch')
  connection.send(records(id, [{ key: 'node/a', value: json(1) }], { ...snapshot, more: true }))
  await client.all().send('after')
  expect(watch.entries.size).toBe(0)
  connection.send(records(id, [{ key: 'node/b', value: json(2) }], { snapshot: true }))
  await watch.ready()
  expect(watch.entries.size).toBe(2)
})

test('after a reconnect only what really changed is a change', async () => {
  const { hub, client, watch, changes, connection } = await watching(
    [
      { key: 'node/same', value: json(1), revision: 1 },
      { key: 'node/changed', value: json(1), revision: 2 },
      { key: 'node/gone', value: json(1), revision: 3 },
      { key: 'node/suspect', value: json(1), revision: 4 },
    ],
    [
      { key: 'node/same', value: json(1), revision: 1 },
      { key: 'node/changed', value: json(2), revision: 9 },
      { key: 'node/suspect', value: json(1), revision: 8, change: 'suspect' },
      { key: 'node/new', value: json(1), revision: 7 },
    ],
  )
  changes.length = 0
  connection.break()
  await hub.connection(1)
  await client.ready()
  await eventually(() => expect(changes).toHaveLength(4))
  expect(short(changes)).toEqual([
    ['drop', 'node/gone', 'unseen'],
    ['put', 'node/changed', 2],
    ['suspect', 'node/suspect', 1],
    ['put', 'node/new', 1],
  ])
  expect([...watch.entries.keys()].sort()).toEqual(['node/changed', 'node/new', 'node/same', 'node/suspect'])
})

test('a snapshot cut off by a lost connection leaves what was known', async () => {
  const { hub, watch, changes, connection, id } = await watching(
    [{ key: 'node/a', value: json(1) }],
    [{ key: 'node/a', value: json(1) }],
  )
  connection.send(records(id, [{ key: 'node/b', value: json(1) }], { ...snapshot, more: true }))
  connection.break()
  await (await hub.connection(1)).next('watch')
  await watch.ready()
  expect(short(changes)).toEqual([['put', 'node/a', 1]])
})

test('an iterator begins with what there is; a slow one gets the latest of each key', async () => {
  const { watch, connection, id, client } = await watching([{ key: 'node/a', value: json(1) }])
  const reader = watch[Symbol.asyncIterator]()
  expect((await reader.next()).value).toMatchObject({ type: 'put', key: 'node/a' })
  for (let i = 2; i <= 9; i++) connection.send(records(id, [{ key: 'node/a', value: json(i), revision: i }]))
  connection.send(records(id, [{ key: 'node/b', value: json(1), revision: 10 }]))
  await eventually(() => expect(watch.entries.size).toBe(2))
  expect((await reader.next()).value).toMatchObject({ key: 'node/a', entry: { value: 9 } })
  expect((await reader.next()).value).toMatchObject({ key: 'node/b' })
  const last = reader.next()
  await client.close()
  expect(await last).toEqual({ done: true, value: undefined })
})

test('a watch that comes back asks for what changed since, and is told no more than that', async () => {
  const { hub, client, watch, changes, connection, id } = await watching([
    { key: 'node/same', value: json(1), revision: 1 },
    { key: 'node/gone', value: json(1), revision: 3 },
  ])
  connection.send(records(id, [{ key: 'node/new', value: json(1), revision: 61 }], { revision: 61 }))
  await eventually(() => expect(changes).toHaveLength(3))
  const asked: unknown[] = []
  hub.script.frame = (frame, again) => {
    if (frame.type !== 'watch') return false
    asked.push(frame.revision)
    const gone = { key: 'node/gone', change: 'drop' as const, revision: 70, reason: 'over' }
    again.send(records(frame.id, [gone], { snapshot: true, revision: 72 }))
    return true
  }
  connection.break()
  await eventually(() => expect(changes).toHaveLength(4))
  expect(short(changes.slice(3))).toEqual([['drop', 'node/gone', 'over']])
  expect([...watch.entries.keys()]).toEqual(['node/same', 'node/new'])
  const second = await hub.connection(1)
  second.break()
  await hub.connection(2)
  await client.ready()
  await eventually(() => expect(asked).toEqual([61, 72]))
})

test('of a store that was emptied meanwhile it asks for everything', async () => {
  const { hub, connection } = await watching([{ key: 'node/a', value: json(1) }], [])
  const usual = hub.script.frame
  hub.script.frame = (frame, again) => {
    if (frame.type !== 'hello') return usual?.(frame, again) ?? false
    again.welcome({ epoch: 'another' })
    return true
  }
  connection.break()
  expect(await (await hub.connection(1)).next('watch')).toEqual({
    type: 'watch',
    id: expect.any(Number),
    prefix: 'node/',
  })
})

test('a watch that has something else than the hub reads it anew, says so, and counts it', async () => {
  const { client, watch, changes, connection, id } = await watching([
    { key: 'node/a', value: json(1), revision: 1 },
    { key: 'node/b', value: json(2), revision: 2, change: 'suspect' },
  ])
  const resyncs: unknown[] = []
  client.on('resync', (resync) => resyncs.push(resync))
  const say = (digest: string) => connection.send({ type: 'pong', digests: { [id]: digest, 9: digest } })
  const right = digestOf(watch.entries.values())
  say(right)
  await client.all().send('after')
  expect([watch.resyncs, resyncs]).toEqual([0, []])

  // What came over the wire is right; what is kept is not.
  ;(watch.entries as Map<string, unknown>).delete('node/b')
  say(right)
  expect(await connection.next('watch')).toMatchObject({ id, resync: true })
  // Asked for once, however often it is told until it comes.
  await eventually(() => expect(watch.entries.size).toBe(2))
  expect(short(changes.slice(2))).toEqual([['suspect', 'node/b', 2]])
  expect([watch.resyncs, resyncs]).toEqual([1, [{ prefix: 'node/' }]])
  say(right)
  await client.all().send('after')
  expect(watch.resyncs).toBe(1)
})

test('a closed watch is taken back at the hub, and says nothing more', async () => {
  const { hub, client, watch, changes, connection, id } = await watching([])
  watch.close()
  expect(await connection.next('unwatch')).toMatchObject({ id })
  connection.send(records(id, [{ key: 'node/a', value: json(1) }]))
  await client.all().send('after')
  expect(changes).toEqual([])
  connection.break()
  const second = await hub.connection(1)
  await client.ready()
  await client.all().send('after')
  expect(second.frames.some(({ type }) => type === 'watch')).toBe(false)
})

test('a watch that is denied says so to whoever waits for it', async () => {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type === 'watch')
      connection.send({ type: 'error', id: frame.id, code: 'denied', message: '', retry: false })
    return frame.type === 'watch'
  }
  const { client } = await aClient(hub)
  const watch = client.watch('node-secret/')
  await expect(watch.ready()).rejects.toMatchObject({ code: 'denied' })
  await expect(watch[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'denied' })
})
