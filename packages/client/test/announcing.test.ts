import { expect, test } from 'vitest'
import { json } from './a-frame.ts'
import { aClient, aHub } from './a-hub.ts'

async function announcing() {
  const hub = await aHub()
  const { client, errors } = await aClient(hub)
  const announcement = client.announce('node/a', { load: 1 })
  return { hub, client, announcement, errors, connection: await hub.connection(0) }
}

/** A hub that refuses puts with these codes, one after another, then takes them. */
async function refusing(...codes: string[]) {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    const code = frame.type === 'put' ? codes.shift() : undefined
    if (code === undefined || frame.type !== 'put') return false
    connection.send({ type: 'error', id: frame.id, code, message: '', retry: code === 'unavailable' })
    return true
  }
  return { hub, ...(await aClient(hub)) }
}

test('puts a leased record, and changes it with the latest value', async () => {
  const { announcement, connection } = await announcing()
  await announcement.ready()
  expect(await connection.next('put')).toMatchObject({ key: 'node/a', lease: true, payload: json({ load: 1 }) })
  const updates = [2, 3, 4].map((load) => announcement.update({ load }))
  await Promise.all(updates)
  const patches = connection.frames.filter((frame) => frame.type === 'patch')
  expect(patches.at(-1)?.payload).toEqual(json({ load: 4 }))
  expect(patches).toHaveLength(2)
})

test('is put again after a reconnect, with what it became meanwhile', async () => {
  const { hub, client, announcement, connection } = await announcing()
  await announcement.ready()
  const away = new Promise((resolve) => client.on('state', resolve))
  connection.break()
  expect(await away).toMatchObject({ state: 'reconnecting' })
  await announcement.update({ load: 2 })
  const second = await hub.connection(1)
  expect(await second.next('put')).toMatchObject({ key: 'node/a', lease: true, payload: json({ load: 2 }) })
  expect(second.frames.filter(({ type }) => type === 'patch')).toEqual([])
})

test('a write cut off by a lost connection is made up for', async () => {
  const hub = await aHub()
  hub.script.frame = ({ type }) => type === 'put' && hub.connections.length === 1
  const { client } = await aClient(hub)
  const announcement = client.announce('node/a', 1)
  const first = await hub.connection(0)
  await first.next('put')
  first.break()
  await announcement.ready()
  await (await hub.connection(1)).next('put')
})

test('waits for another owner to go, which it tells once, and for a store that is away', async () => {
  const { client, errors } = await refusing('not_owner', 'conflict', 'unavailable')
  await client.announce('node/a', 1).ready()
  expect(errors).toMatchObject([{ code: 'not_owner' }])
})

test('names the generation it had, so that whoever took over meanwhile is not overwritten', async () => {
  const { hub, client, announcement, connection } = await announcing()
  await announcement.ready()
  expect(await connection.next('put')).not.toHaveProperty('generation')
  connection.break()
  const second = await hub.connection(1)
  await client.ready()
  expect(await second.next('put')).toMatchObject({ generation: 1 })
})

test('what is refused for good is told, and tried again with the next value', async () => {
  const { client, errors } = await refusing('denied')
  const announcement = client.announce('node/a', 1)
  await expect(announcement.ready()).rejects.toMatchObject({ code: 'denied' })
  expect(errors).toMatchObject([{ code: 'denied' }])
  await announcement.update(2)
})

test('a lease that was lost is taken again', async () => {
  const { hub, announcement, connection } = await announcing()
  await announcement.ready()
  hub.script.frame = (frame) => {
    if (frame.type === 'patch')
      connection.send({ type: 'error', id: frame.id, code: 'not_found', message: '', retry: false })
    return frame.type === 'patch'
  }
  await connection.next('put')
  await announcement.update({ load: 2 })
  expect(await connection.next('put')).toMatchObject({ payload: json({ load: 2 }) })
})

test('a dropped one is taken away with its reason, and stays away', async () => {
  const { hub, client, announcement, connection } = await announcing()
  await announcement.ready()
  await announcement.drop('retired')
  expect(await connection.next('drop')).toMatchObject({ key: 'node/a', reason: 'retired' })
  await expect(announcement.update({ load: 9 })).rejects.toMatchObject({ code: 'closed' })
  connection.break()
  const second = await hub.connection(1)
  await client.ready()
  await client.all().send('after')
  expect(second.frames.some(({ type }) => type === 'put')).toBe(false)
  await client.announce('node/a', { load: 1 }).ready()
})

test('dropped while it is being put, it is put first', async () => {
  const { announcement, connection } = await announcing()
  await connection.next('hello')
  await announcement.drop('at once')
  const types = connection.frames.map(({ type }) => type).filter((type) => type === 'put' || type === 'drop')
  expect([[], ['put', 'drop']]).toContainEqual(types)
})

test('one that the hub never had is dropped without a word', async () => {
  const hub = await aHub()
  hub.script.opened = () => true
  const { client } = await aClient(hub)
  await client.announce('node/a', 1).drop('never mind')
})

test('a key is announced once', async () => {
  const { client } = await announcing()
  expect(() => client.announce('node/a', 2)).toThrow(expect.objectContaining({ code: 'bad_field', field: 'key' }))
  expect(() => client.announce('node/b', 1n)).toThrow(expect.objectContaining({ field: 'value' }))
})

test('closing the client ends whoever waits', async () => {
  const hub = await aHub()
  hub.script.opened = () => true
  const { client } = await aClient(hub)
  const ready = client.announce('node/a', 1).ready()
  await client.close()
  await expect(ready).rejects.toMatchObject({ code: 'closed' })
})
