import type { Verdict } from '@damon/protocol/frames'
import { eventually } from '@damon/testkit/eventually'
import { expect, test } from 'vitest'
import { json, verdict } from './a-frame.ts'
import { aClient, aHub } from './a-hub.ts'

const sessions = Array.from({ length: 9 }, (_, i) => `${i}`.padStart(16, '0'))

async function asking(options: Parameters<typeof aClient>[1] = {}) {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type === 'request') connection.send({ type: 'ack', number: frame.number, origin: 1, seq: frame.number })
    return frame.type === 'request' || frame.type === 'cancel'
  }
  const { client, errors } = await aClient(hub, options)
  await client.ready()
  const connection = await hub.connection(0)
  return { hub, client, connection, errors }
}

for (const codec of ['binary', 'json'] as const) {
  test(`gathers one answer from each receiver (${codec})`, async () => {
    const { client, connection } = await asking({ codec })
    const request = client.group('bots').request('drain', { node: 'a' }, { deadline: 2_000, quorum: 3 })
    expect(await connection.next('request')).toMatchObject({
      number: 1,
      to: 'group/bots',
      event: 'drain',
      deadline: 2_000,
      quorum: 3,
      payload: json({ node: 'a' }),
    })
    connection.send(verdict({ seq: 1, session: sessions[1]!, from: 'bot/a', payload: json({ moved: 2 }) }))
    connection.send(
      verdict({
        seq: 2,
        session: sessions[2]!,
        from: 'bot/b',
        verdict: 'failed',
        code: 'busy',
        payload: new TextEncoder().encode('Not now.'),
      }),
    )
    connection.send(verdict({ seq: 3, session: sessions[3]!, from: 'bot/c', verdict: 'timed_out' }))
    connection.send({ type: 'settled', request: 1, tally: { answered: 1, failed: 1, timed_out: 1 } })
    expect(await request).toEqual([
      { service: 'bot', client: 'a', session: sessions[1], verdict: 'answered', value: { moved: 2 } },
      {
        service: 'bot',
        client: 'b',
        session: sessions[2],
        verdict: 'failed',
        error: { code: 'busy', message: 'Not now.' },
      },
      { service: 'bot', client: 'c', session: sessions[3], verdict: 'timed_out' },
    ])
  })
}

test('hands out each answer as it comes, to every reader, also afterwards', async () => {
  const { client, connection } = await asking()
  const request = client.group('bots').request('ping')
  const early: Verdict[] = []
  const reading = (async () => {
    for await (const answer of request) early.push(answer.verdict)
  })()
  await connection.next('request')
  connection.send(verdict({ seq: 1, session: sessions[1]! }))
  await eventually(() => expect(early).toEqual(['answered']))
  connection.send(verdict({ seq: 2, session: sessions[2]!, verdict: 'no_handler', code: 'no_handler' }))
  await eventually(() => expect(early).toEqual(['answered', 'no_handler']))
  connection.send({ type: 'settled', request: 1, tally: {} })
  await reading
  const late: Verdict[] = []
  for await (const answer of request) late.push(answer.verdict)
  expect(late).toEqual(early)
})

test('each is every answer as it comes, all is one promise of them', async () => {
  const { client, connection } = await asking()
  const request = client.group('bots').request('ping')
  await connection.next('request')
  connection.send(verdict({ seq: 1, session: sessions[1]!, payload: json('one') }))
  for await (const { value } of request.each) {
    expect(value).toBe('one')
    break
  }
  connection.send(verdict({ seq: 2, session: sessions[2]!, payload: json('two') }))
  connection.send({ type: 'settled', request: 1, tally: {} })
  expect((await request.all).map(({ value }) => value)).toEqual(['one', 'two'])
  const again: unknown[] = []
  for await (const { value } of request.each) again.push(value)
  expect(again).toEqual(['one', 'two'])
})

test('nobody there: settled at once, and empty', async () => {
  const { client, connection } = await asking()
  const request = client.group('bots').request('ping')
  await connection.next('request')
  connection.send({ type: 'settled', request: 1, tally: {} })
  expect(await request).toEqual([])
})

test('one of a group with nobody in it is refused with no_receiver', async () => {
  const { hub, client } = await asking()
  hub.script.frame = (frame, connection) => {
    if (frame.type === 'request')
      connection.send({ type: 'error', number: frame.number, code: 'no_receiver', message: '', retry: true })
    return false
  }
  const request = client.any('bots').request('ping')
  await expect(request).rejects.toMatchObject({ code: 'no_receiver', retry: true })
  await expect(request[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'no_receiver' })
})

test('the first word on a receiver stands', async () => {
  const { client, connection } = await asking()
  const request = client.group('bots').request('ping')
  await connection.next('request')
  connection.send(verdict({ seq: 1, session: sessions[1]!, payload: json('first') }))
  connection.send(verdict({ seq: 1, session: sessions[2]!, payload: json('repeated') }))
  connection.send(verdict({ seq: 2, session: sessions[1]!, verdict: 'disconnected' }))
  connection.send({ type: 'settled', request: 1, tally: {} })
  expect(await request).toMatchObject([{ verdict: 'answered', value: 'first' }])
})

test('parts come before the answer they belong to', async () => {
  const { client, connection } = await asking()
  const parts: unknown[] = []
  const request = client
    .group('bots')
    .request('log', undefined, { onPart: ({ client: who, value }) => parts.push([who, value]) })
  await connection.next('request')
  const { verdict: _, code: __, ...part } = verdict({ seq: 1, payload: json('line 1') })
  connection.send({ ...part, type: 'part' })
  connection.send(verdict({ seq: 2, payload: json('end') }))
  connection.send({ type: 'settled', request: 1, tally: {} })
  expect(await request).toMatchObject([{ value: 'end' }])
  expect(parts).toEqual([['two', 'line 1']])
})

test('a session lost in the middle settles with what came, and one unknown for the rest', async () => {
  const { hub, client, connection } = await asking()
  const acknowledged = client.group('bots').request('ping')
  await connection.next('request')
  connection.send(verdict({ seq: 1, session: sessions[1]! }))
  hub.script.frame = ({ type }) => type === 'request' && hub.connections.length === 1
  const notEvenThat = client.group('bots').request('ping')
  await connection.next('request')
  connection.break()
  expect(await acknowledged).toMatchObject([
    { verdict: 'answered' },
    { verdict: 'unknown', service: '', client: '', session: '', error: { code: 'unknown_outcome' } },
  ])
  expect(await notEvenThat).toMatchObject([{ verdict: 'unknown' }])
})

test('numbers of the next session are not taken for those of the last', async () => {
  const { hub, client, connection } = await asking()
  const first = client.group('bots').request('ping')
  await connection.next('request')
  connection.break()
  expect(await first).toMatchObject([{ verdict: 'unknown' }])
  await client.ready()
  const second = client.group('bots').request('ping')
  const next = await hub.connection(1)
  expect(await next.next('request')).toMatchObject({ number: 1 })
  next.send(verdict({ payload: json('new') }))
  next.send({ type: 'settled', request: 1, tally: {} })
  expect(await second).toMatchObject([{ verdict: 'answered', value: 'new' }])
})

test('a cancelled request settles with the answers there are', async () => {
  const { client, connection } = await asking()
  const request = client.group('bots').request('ping')
  await connection.next('request')
  connection.send(verdict({ seq: 1, session: sessions[1]! }))
  request.cancel()
  expect(await connection.next('cancel')).toMatchObject({ request: 1 })
  connection.send(verdict({ seq: 2, session: sessions[2]!, verdict: 'not_needed' }))
  connection.send({ type: 'settled', request: 1, tally: {} })
  expect(await request).toMatchObject([{ verdict: 'answered' }, { verdict: 'not_needed' }])
})

test('an aborted request rejects with the reason, and is withdrawn at the hub', async () => {
  const { client, connection } = await asking()
  const abort = new AbortController()
  const request = client.group('bots').request('ping', undefined, { signal: abort.signal })
  await connection.next('request')
  abort.abort(new Error('enough'))
  await expect(request).rejects.toThrow('enough')
  expect(await connection.next('cancel')).toMatchObject({ request: 1 })
})

test('without a connection it waits no longer than its deadline', async () => {
  const hub = await aHub()
  hub.script.opened = () => true
  const { client } = await aClient(hub)
  await expect(client.group('bots').request('ping', undefined, { deadline: 30 })).rejects.toMatchObject({
    code: 'disconnected',
  })
})

test('refuses deadlines and quorums beyond the limits', async () => {
  const { client } = await asking()
  const bots = client.group('bots')
  await expect(bots.request('ping', 1, { deadline: 300_001 })).rejects.toMatchObject({ field: 'deadline' })
  await expect(bots.request('ping', 1, { deadline: 0.5 })).rejects.toMatchObject({ field: 'deadline' })
  await expect(bots.request('ping', 1, { quorum: -1 })).rejects.toMatchObject({ field: 'quorum' })
  expect(() => bots.request('No')).toThrow(expect.objectContaining({ field: 'event' }))
})
