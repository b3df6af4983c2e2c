import { digestOf } from '@damon/protocol/digest'
import { eventually } from '@damon/testkit/eventually'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import * as v from 'valibot'
import { expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import type { Answer } from '../src/answer.ts'
import { defineEvent, defineRecord, defineRequest } from '../src/contract.ts'
import { json, message, records, verdict } from './a-frame.ts'
import { aClient, aHub } from './a-hub.ts'

/** The same contracts in two libraries: what travels is an ISO date, what is received is a Date. */
const libraries = {
  zod: {
    started: defineEvent('track.started', z.object({ track: z.object({ title: z.string() }), listeners: z.number() })),
    drain: defineRequest('node.drain', {
      asks: z.object({ node: z.string(), players: z.array(z.object({ guild: z.string() })) }),
      answers: z.object({ moved: z.number() }),
      parts: z.object({ guild: z.string() }),
    }),
    nodes: defineRecord('node/', z.object({ since: z.string().transform((text) => new Date(text)) })),
  },
  valibot: {
    started: defineEvent('track.started', v.object({ track: v.object({ title: v.string() }), listeners: v.number() })),
    drain: defineRequest('node.drain', {
      asks: v.object({ node: v.string(), players: v.array(v.object({ guild: v.string() })) }),
      answers: v.object({ moved: v.number() }),
      parts: v.object({ guild: v.string() }),
    }),
    nodes: defineRecord(
      'node/',
      v.object({
        since: v.pipe(
          v.string(),
          v.transform((text) => new Date(text)),
        ),
      }),
    ),
  },
}

async function connected() {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type === 'request') connection.send({ type: 'ack', number: frame.number, origin: 1, seq: frame.number })
    return frame.type === 'request'
  }
  const { client, errors } = await aClient(hub)
  await client.ready()
  return { client, errors, connection: await hub.connection(0) }
}

const ask = (unusual: Parameters<typeof message>[0]) => message({ request: true, deadline: 5_000, ...unusual })
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

for (const [library, { started, drain, nodes }] of Object.entries(libraries)) {
  test(`a message that fits its contract is heard, another is an error that names the field (${library})`, async () => {
    const { client, errors, connection } = await connected()
    const heard: string[] = []
    client.receive(started, ({ track, listeners }) => heard.push(`${track.title.trim()} ${listeners + 1}`))
    connection.send(message({ seq: 1, event: 'track.started', payload: json({ track: { title: 7 }, listeners: 1 }) }))
    connection.send(message({ seq: 2, event: 'track.started', payload: json('a text') }))
    connection.send(
      message({ seq: 3, event: 'track.started', payload: json({ track: { title: 'So What' }, listeners: 1 }) }),
    )
    await eventually(() => expect(heard).toEqual(['So What 2']))
    expect(errors).toMatchObject([
      { code: 'bad_payload', field: 'track.title' },
      { code: 'bad_payload', field: 'value' },
    ])
    void client.all().send(started, { track: { title: 'Blue in Green' }, listeners: 2 })
    expect(await connection.next('send')).toMatchObject({
      payload: json({ track: { title: 'Blue in Green' }, listeners: 2 }),
    })
  })

  test(`a question that does not fit is failed with the path of its field, and not handled (${library})`, async () => {
    const { client, connection, errors } = await connected()
    let asked = 0
    client.handle(drain, async ({ players }, { part }) => {
      asked++
      for (const { guild } of players) await part({ guild })
      return { moved: players.length }
    })
    connection.send(
      ask({ seq: 1, number: 1, event: 'node.drain', payload: json({ node: 'a', players: [{ guild: 'x' }, {}] }) }),
    )
    const refused = await connection.next('reply')
    expect(refused).toMatchObject({ request: 1, verdict: 'failed', code: 'bad_payload' })
    expect(text(refused.payload)).toMatch(/^players\.1\.guild: /)
    expect(asked).toBe(0)
    connection.send(
      ask({ seq: 2, number: 2, event: 'node.drain', payload: json({ node: 'a', players: [{ guild: 'x' }] }) }),
    )
    expect(await connection.next('part')).toMatchObject({ request: 2, payload: json({ guild: 'x' }) })
    expect(await connection.next('reply')).toMatchObject({
      request: 2,
      verdict: 'answered',
      payload: json({ moved: 1 }),
    })
    expect(errors).toEqual([])
  })

  test(`an answer that does not fit is failed here, one that does is typed (${library})`, async () => {
    const { client, connection, errors } = await connected()
    const parts: string[] = []
    const request = client
      .group('bots')
      .request(drain, { node: 'a', players: [] }, { onPart: ({ value }) => parts.push(value.guild) })
    await connection.next('request')
    const said = verdict({ request: 1 })
    const part = { ...said, type: 'part' as const }
    connection.send({ ...part, seq: 1, payload: json({ guild: 'g1' }) })
    connection.send({ ...part, seq: 2, payload: json({ guild: 2 }) })
    connection.send({ ...said, seq: 3, session: '00000000000000b1', payload: json({ moved: 'two' }) })
    connection.send({ ...said, seq: 4, session: '00000000000000b2', payload: json({ moved: 2 }) })
    connection.send({
      ...{ ...said, seq: 5, session: '00000000000000b3', verdict: 'failed' as const, code: 'bad_payload' },
      payload: new TextEncoder().encode('players.0: is none. The payload does not fit.'),
    })
    connection.send({ type: 'settled', request: 1, tally: {} })
    const answers = await request
    expect(answers.map(({ verdict, value, error }) => [verdict, value?.moved, error?.code, error?.field])).toEqual([
      ['failed', undefined, 'bad_payload', 'moved'],
      ['answered', 2, undefined, undefined],
      ['failed', undefined, 'bad_payload', 'players.0'],
    ])
    expect(parts).toEqual(['g1'])
    expect(errors).toMatchObject([{ code: 'bad_payload', field: 'guild' }])
  })

  test(`a watch has only the records that are as their contract says, in its own form (${library})`, async () => {
    const { client, connection, errors } = await connected()
    const watch = client.watch(nodes)
    const { id } = await connection.next('watch')
    const since = '2026-01-02T03:04:05.000Z'
    connection.send(
      records(
        id,
        [
          { key: 'node/a', value: json({ since }) },
          { key: 'node/b', value: json({ since: 5 }) },
        ],
        { snapshot: true, reset: true },
      ),
    )
    await watch.ready()
    expect([...watch.entries].map(([key, { value }]) => [key, value.since.toISOString()])).toEqual([['node/a', since]])
    expect(errors).toMatchObject([
      { code: 'bad_payload', field: 'since', message: expect.stringMatching(/^node\/b: /) },
    ])
    // They count where the hub and its watcher compare what they have.
    const has = (key: string) => ({ key, revision: 1, state: 'live' as const })
    connection.send({ type: 'pong', digests: { [id]: digestOf([has('node/a'), has('node/b')]) } })
    const changes: unknown[] = []
    watch.on('change', ({ type, key, reason, entry }) =>
      changes.push([type, key, reason, entry?.value.since.getTime()]),
    )
    connection.send(records(id, [{ key: 'node/a', change: 'suspect', revision: 2 }]))
    connection.send(records(id, [{ key: 'node/a', value: json('gone wrong'), revision: 3 }]))
    connection.send(records(id, [{ key: 'node/b', value: json({ since }), revision: 4 }]))
    await eventually(() =>
      expect(changes).toEqual([
        ['suspect', 'node/a', undefined, Date.parse(since)],
        ['drop', 'node/a', 'bad_payload', undefined],
        ['put', 'node/b', undefined, Date.parse(since)],
      ]),
    )
    expect(connection.frames.filter(({ type }) => type === 'watch')).toHaveLength(1)
  })

  test(`records are read and written by their contract (${library})`, async () => {
    const hub = await aHub()
    const value = json({ since: '2026-01-02T03:04:05.000Z' })
    hub.script.frame = (frame, connection) => {
      if (frame.type !== 'get' && frame.type !== 'list') return false
      const bad = { key: 'node/bad', value: json(1) }
      const entries =
        frame.type === 'list'
          ? [bad, { key: 'node/a', value }]
          : [frame.key === 'node/a' ? { key: 'node/a', value } : bad]
      connection.send(records(frame.id, entries, { snapshot: true }))
      return true
    }
    const { client, errors } = await aClient(hub)
    expect((await client.get(nodes.at('a')))?.value.since.getUTCFullYear()).toBe(2026)
    await expect(client.get(nodes.at('bad'))).rejects.toMatchObject({ code: 'bad_payload', field: 'value' })
    expect((await client.list(nodes)).map(({ key }) => key)).toEqual(['node/a'])
    expect(errors).toMatchObject([{ code: 'bad_payload' }])
    await client.put(nodes.at('a'), { since: '2026-01-02' })
    const connection = await hub.connection(0)
    expect(await connection.next('put')).toMatchObject({ key: 'node/a', payload: json({ since: '2026-01-02' }) })
  })
}

test('what does not fit at compile time does not compile', async () => {
  const { client } = await connected()
  const { started, drain, nodes } = libraries.zod
  const misuse = () => {
    // @ts-expect-error a title is a text
    void client.all().send(started, { track: { title: 7 }, listeners: 1 })
    // @ts-expect-error a value is needed
    void client.all().request(drain)
    // @ts-expect-error moved is a number
    client.handle(drain, () => ({ moved: 'two' }))
    // @ts-expect-error a part has a guild
    client.handle(drain, (_, { part }) => part({}).then(() => ({ moved: 2 })))
    // @ts-expect-error since is a text where it is written
    void client.put(nodes.at('a'), { since: new Date() })
  }
  expect(misuse).toBeTypeOf('function')
  const nothing = defineRequest('ping', { asks: z.undefined(), answers: z.literal('pong') })
  const request = () => client.any('bots').request(nothing)
  expectTypeOf(request().all).resolves.toEqualTypeOf<Answer<'pong'>[]>()
  expectTypeOf<Extract<Answer<'pong'>, { verdict: 'answered' }>['value']>().toEqualTypeOf<'pong'>()
})

test('names are checked where a contract is made; a schema that must be waited for is refused where it is used', async () => {
  expect(() => defineEvent('No Event', z.string())).toThrow(expect.objectContaining({ code: 'bad_field' }))
  expect(() => defineRecord('No Key', z.string())).toThrow(expect.objectContaining({ code: 'bad_field' }))
  expect(() => defineRecord('node/', z.string()).at('a//b')).toThrow(expect.objectContaining({ code: 'bad_field' }))
  const slow: StandardSchemaV1<string> = {
    '~standard': { version: 1, vendor: 'test', validate: async (value) => ({ value: String(value) }) },
  }
  const { client, connection, errors } = await connected()
  client.receive(defineEvent('slow', slow), () => undefined)
  connection.send(message({ event: 'slow', payload: json('x') }))
  await eventually(() => expect(errors).toEqual([expect.any(TypeError)]))
})
