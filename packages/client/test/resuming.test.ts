import { randomBytes } from 'node:crypto'
import { limits } from '@damon/protocol/limits'
import { eventually } from '@damon/testkit/eventually'
import type { ScriptedConnection } from '@damon/testkit/scripted-hub'
import { expect, test } from 'vitest'
import type { HubOptions } from '../src/hub.ts'
import { json, message, records, verdict } from './a-frame.ts'
import { aClient, aHub } from './a-hub.ts'

const other = '00000000000000aa'

/** A client that is connected to a hub which from now on resumes; `how` overrides what it says, and keeps quiet where it sends itself. */
async function resumable(how: Parameters<ScriptedConnection['resume']>[0] = {}, options: HubOptions = {}) {
  const hub = await aHub()
  const { client, states, errors } = await aClient(hub, options)
  const heard: unknown[] = []
  const gaps: unknown[] = []
  client.receive('*', (value) => heard.push(value))
  client.on('gap', (gap) => gaps.push(gap))
  await client.ready()
  const first = await hub.connection(0)
  hub.script.frame = (frame, connection) => {
    if (frame.type === 'hello') connection.resume(how)
    // What a watch has is for the test to say.
    return frame.type === 'hello' || frame.type === 'watch'
  }
  return { hub, client, states, errors, heard, gaps, first }
}

test('asks to go on from the frames that it has, the log that it was last told of, and the numbers that it gave', async () => {
  const { hub, client, first } = await resumable()
  await client.join('bots')
  await client.all().send('a')
  hub.script.frame = (frame) => frame.type === 'send'
  void client.all().send('b').catch(Object)
  await first.next('send')
  await first.next('send')
  const heard = new Promise((resolve) => client.receive('hello', resolve))
  first.send(message({ origin: 4, seq: 9 }))
  await heard
  first.break()
  const { resume } = await (await hub.connection(1)).next('hello')
  expect(resume).toEqual({
    ...{ session: first.session, ticket: 'ticket', epoch: 'epoch' },
    positions: [{ origin: 4, to: 'group/bots', seq: 9 }],
    ack: { origin: 1, seq: 1 },
    ...{ done: 1, sent: 2 },
  })
})

test('begins in the log where the welcome says, until an ack says more', async () => {
  const { hub, client, first } = await resumable({ ack: { origin: 9, seq: 70 } })
  await client.all().send('a')
  first.break()
  const second = await hub.connection(1)
  expect((await second.next('hello')).resume?.ack).toEqual({ origin: 1, seq: 1 })
  await client.ready()
  second.break()
  expect((await (await hub.connection(2)).next('hello')).resume?.ack).toEqual({ origin: 9, seq: 70 })
})

test('keeps its session, its groups and its numbers, and says so', async () => {
  const { hub, client, first, states } = await resumable({}, { groups: ['bots'] })
  const session = client.session
  await client.all().send('a')
  first.break()
  const second = await hub.connection(1)
  await client.all().send('b')
  expect(await second.next('send')).toMatchObject({ event: 'b', number: 2, again: false })
  expect(client.session).toBe(session)
  expect(states.at(-1)).toMatchObject({ state: 'connected', resumed: true, session })
  expect(await second.next('hello')).toMatchObject({ groups: ['bots'] })
})

test('what the log does not have is refused, what it has is done, and the rest is repeated in order', async () => {
  const { hub, client, first } = await resumable({ done: 3, refused: [2] })
  const resuming = hub.script.frame
  hub.script.frame = (frame, connection) =>
    resuming?.(frame, connection) || (frame.type === 'send' && connection === first)
  const sends = ['a', 'b', 'c', 'd', 'e'].map((event) => client.all().send(event))
  const outcomes = Promise.allSettled(sends)
  for (const _ of sends) await first.next('send')
  first.break()
  const second = await hub.connection(1)
  expect(await second.next('send')).toMatchObject({ event: 'd', number: 4, again: true })
  expect(await second.next('send')).toMatchObject({ event: 'e', number: 5, again: true })
  expect((await outcomes).map((outcome) => outcome.status)).toEqual([
    ...['fulfilled', 'rejected', 'fulfilled'],
    ...['fulfilled', 'fulfilled'],
  ])
  await expect(sends[1]).rejects.toMatchObject({ code: 'unavailable', retry: true })
})

test('hears what is replayed once, whatever of it had come before', async () => {
  const { hub, client, first, heard } = await resumable({ positions: [{ origin: 1, to: 'group/bots', seq: 2 }] })
  first.send(message({ seq: 1, payload: json('a') }))
  first.send(message({ seq: 3, payload: json('b') }))
  await eventually(() => expect(heard).toEqual(['a', 'b']))
  first.break()
  const second = await hub.connection(1)
  await client.ready()
  for (const [seq, value] of [
    [2, 'old'],
    [3, 'twice'],
    [5, 'c'],
  ] as const)
    second.send(message({ seq, payload: json(value) }))
  await eventually(() => expect(heard).toEqual(['a', 'b', 'c']))
})

test('forgets positions that the hub does not need any more', async () => {
  const { hub, client, first, heard } = await resumable({ positions: [{ origin: 2, to: 'all', seq: 1 }] })
  first.send(message({ origin: 1, to: 'all', payload: json('a') }))
  first.send(message({ origin: 2, to: 'all', seq: 5, payload: json('b') }))
  await eventually(() => expect(heard).toHaveLength(2))
  first.break()
  await hub.connection(1)
  await client.ready()
  hub.connections[1]?.break()
  const { resume } = await (await hub.connection(2)).next('hello')
  expect(resume?.positions).toEqual([{ origin: 2, to: 'all', seq: 5 }])
})

test('a gap is told, and counts as seen', async () => {
  const { hub, client, first, heard, gaps } = await resumable()
  first.send(message({ seq: 1, payload: json('a') }))
  await eventually(() => expect(heard).toEqual(['a']))
  first.break()
  const second = await hub.connection(1)
  await client.ready()
  second.send({ type: 'gap', origin: 1, to: 'group/bots', from: 2, until: 6 })
  second.send(message({ seq: 6, payload: json('in the gap') }))
  second.send(message({ seq: 7, payload: json('b') }))
  await eventually(() => expect(heard).toEqual(['a', 'b']))
  expect(gaps).toEqual([{ origin: 1, to: 'group/bots', from: 2, until: 6 }])
})

test('open requests go on, and settle with the verdicts that were logged', async () => {
  const { hub, client, first } = await resumable()
  const request = client.group('bots').request('q')
  await first.next('request')
  first.break()
  const second = await hub.connection(1)
  await second.next('hello')
  second.send(verdict({ session: other, payload: json('yes') }))
  second.send({ type: 'settled', request: 1, tally: { answered: 1 } })
  expect(await request).toMatchObject([{ session: other, verdict: 'answered', value: 'yes' }])
})

test('requests whose answers nobody collects any more settle with what came, and one unknown', async () => {
  const { hub, client, first } = await resumable({ done: 2 })
  hub.script.frame = (
    (resuming) => (frame, connection) =>
      resuming?.(frame, connection) || (frame.type === 'request' && connection === first)
  )(hub.script.frame)
  const [one, two, three] = [1, 2, 3].map((n) => client.group('bots').request('q', n))
  for (let i = 0; i < 3; i++) await first.next('request')
  first.break()
  const second = await hub.connection(1)
  expect(await second.next('request')).toMatchObject({ number: 3, again: true })
  second.send(verdict({ request: 1, session: other, payload: json('yes') }))
  second.send({ type: 'settled', request: 2, tally: {}, lost: true })
  expect(await one).toMatchObject([{ verdict: 'answered', value: 'yes' }, { verdict: 'unknown' }])
  expect(await two).toMatchObject([{ verdict: 'unknown', error: { code: 'unknown_outcome' } }])
  second.send({ type: 'settled', request: 3, tally: {} })
  expect(await three).toEqual([])
})

test('a repeated piece of an answer is heard once', async () => {
  const { client, first } = await resumable()
  const parts: unknown[] = []
  const request = client.group('bots').request('q', null, { onPart: ({ value }) => parts.push(value) })
  await first.next('request')
  const part = { ...verdict({ session: other, payload: json('a') }), type: 'part' as const, number: 4 }
  first.send(part)
  first.send({ ...part, origin: 2, again: true })
  first.send({ ...part, seq: 2, number: 5, payload: json('b') })
  first.send({ type: 'settled', request: 1, tally: {} })
  await request
  expect(parts).toEqual(['a', 'b'])
})

test('answers a request that it was given before the line broke', async () => {
  const { hub, client, first } = await resumable()
  const answer = Promise.withResolvers<string>()
  const asked = Promise.withResolvers<void>()
  const aborted: unknown[] = []
  client.handle('q', (_, { signal }) => {
    asked.resolve()
    signal.addEventListener('abort', () => aborted.push(signal.reason))
    return answer.promise
  })
  first.send(message({ request: true, deadline: 60_000, event: 'q', number: 3 }))
  await asked.promise
  first.break()
  const second = await hub.connection(1)
  await client.ready()
  answer.resolve('late but there')
  expect(await second.next('reply')).toMatchObject({ session: other, request: 3, payload: json('late but there') })
  expect(aborted).toEqual([])
})

test('announced records stay as they are, and can be changed', async () => {
  const { hub, client, first } = await resumable()
  const announcement = client.announce('thing/a', 1)
  await announcement.ready()
  first.break()
  const second = await hub.connection(1)
  await announcement.update(2)
  expect(await second.next('patch')).toMatchObject({ key: 'thing/a' })
  expect(second.frames.map(({ type }) => type)).not.toContain('put')
})

test('announced records are put again when they lapsed meanwhile', async () => {
  const { hub, client, first } = await resumable({ lapsed: true })
  await client.announce('thing/a', 1).ready()
  first.break()
  expect(await (await hub.connection(1)).next('put')).toMatchObject({ key: 'thing/a', lease: true })
})

test('watches are asked for again, and tell only what changed', async () => {
  const { hub, client, first } = await resumable()
  const watch = client.watch('thing/')
  const changes: unknown[] = []
  watch.on('change', ({ type, key }) => changes.push([type, key]))
  const { id } = await first.next('watch')
  const entries = [{ key: 'thing/a', value: json(1) }]
  first.send(records(id, entries, { snapshot: true, reset: true }))
  await eventually(() => expect(changes).toHaveLength(1))
  first.break()
  const second = await hub.connection(1)
  await second.next('watch')
  second.send(records(id, [...entries, { key: 'thing/b' }], { snapshot: true, reset: true }))
  await eventually(() =>
    expect(changes).toEqual([
      ['put', 'thing/a'],
      ['put', 'thing/b'],
    ]),
  )
})

test('a session that could not go on tells why, and a gap for everything that it was in', async () => {
  const { hub, client, first, states, gaps } = await resumable({}, { groups: ['bots'] })
  const before = client.session
  hub.script.frame = (frame, connection) => {
    if (frame.type === 'hello') connection.welcome({ reason: 'unknown_session' })
    return frame.type === 'hello'
  }
  first.break()
  await hub.connection(1)
  await client.ready()
  expect(states.at(-1)).toMatchObject({ state: 'connected', resumed: false, reason: 'unknown_session' })
  await eventually(() =>
    expect(gaps).toEqual(['all', 'client/bot/one', `session/${before}`, 'group/bots'].map((to) => ({ to }))),
  )
})

test('no gap is told by the first welcome', async () => {
  const hub = await aHub()
  const gaps: unknown[] = []
  const { client } = await aClient(hub)
  client.on('gap', (gap) => gaps.push(gap))
  await client.ready()
  await client.all().send('x')
  expect(gaps).toEqual([])
})

for (const [what, wrong] of [
  ['another session', { session: randomBytes(8).toString('hex') }],
  ['more numbers than were given', { done: 2 }],
  ['fewer numbers than it had acknowledged', { done: 0 }],
] as const)
  test(`drops a hub that resumes ${what}`, async () => {
    const { hub, client, first, states } = await resumable(wrong)
    await client.all().send('a')
    first.break()
    await eventually(() => expect(states.map(({ reason }) => reason)).toContain('garbled'))
    hub.script = {}
    await eventually(() => expect(client.state).toBe('connected'))
  })

for (const codec of ['binary', 'json'] as const)
  test(`a hello too long for all its positions names some, and still resumes (${codec})`, async () => {
    const { hub, client, first } = await resumable({}, { codec })
    const groups = Array.from({ length: 12 }, (_, i) => `a-group-with-a-rather-long-name-indeed-${i}`)
    for (const group of groups) await client.join(group)
    const heard = Promise.withResolvers<void>()
    client.receive('last', () => heard.resolve())
    for (const group of groups)
      for (let origin = 1; origin <= 60; origin++)
        first.send(message({ origin, seq: 2 ** 40, to: `group/${group}`, event: origin === 60 ? 'last' : 'x' }))
    first.send(message({ origin: 1, seq: 2 ** 41, event: 'last' }))
    await heard.promise
    first.break()
    const hello = await (await hub.connection(1)).next('hello')
    expect(JSON.stringify(hello).length).toBeLessThanOrEqual(limits.helloBytes)
    expect(hello.groups).toEqual(groups)
    expect(hello.resume?.positions.length).toBeGreaterThan(100)
    expect(client.session).toBe(first.session)
  })
