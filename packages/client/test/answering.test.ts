import { damonError } from '@damon/protocol/errors'
import { limits } from '@damon/protocol/limits'
import { eventually } from '@damon/testkit/eventually'
import { expect, test } from 'vitest'
import { json, message } from './a-frame.ts'
import { aClient, aHub } from './a-hub.ts'

const ask = (unusual: Parameters<typeof message>[0]) => message({ request: true, deadline: 5_000, ...unusual })

async function answering(options: Parameters<typeof aClient>[1] = {}) {
  const hub = await aHub()
  const { client, errors } = await aClient(hub, options)
  await client.ready()
  const connection = await hub.connection(0)
  return { hub, client, connection, errors }
}

for (const codec of ['binary', 'json'] as const) {
  test(`answers with what the handler returns, now or later (${codec})`, async () => {
    const { client, connection } = await answering({ codec })
    client.handle('double', (value, { from }) => ({ is: Number(value) * 2, for: from }))
    client.handle('bytes', async () => new Uint8Array([1, 2]))
    connection.send(ask({ seq: 1, number: 11, event: 'double', payload: json(21) }))
    expect(await connection.next('reply')).toMatchObject({
      number: 1,
      session: '00000000000000aa',
      request: 11,
      verdict: 'answered',
      code: '',
      payload: json({ is: 42, for: 'bot/two' }),
    })
    connection.send(ask({ seq: 2, number: 12, event: 'bytes' }))
    const reply = await connection.next('reply')
    expect(reply).toMatchObject({ number: 2, request: 12, bytes: true })
    expect([...reply.payload]).toEqual([1, 2])
  })
}

test('nobody handles it: no_handler at once', async () => {
  const { client, connection } = await answering()
  client.receive('*', () => undefined)
  connection.send(ask({ event: 'unheard.of' }))
  expect(await connection.next('reply')).toMatchObject({ verdict: 'no_handler' })
})

test('the most particular handler is asked', async () => {
  const { client, connection } = await answering()
  client.handle('*', () => 'any')
  client.handle('node.*', () => 'node')
  using exact = client.handle('node.drain', () => 'drain')
  expect(() => client.handle('node.*', () => 'again')).toThrow(expect.objectContaining({ field: 'event' }))
  connection.send(ask({ seq: 1, event: 'node.drain' }))
  connection.send(ask({ seq: 2, event: 'node.stats' }))
  connection.send(ask({ seq: 3, event: 'other' }))
  for (const said of ['drain', 'node', 'any'])
    expect(await connection.next('reply')).toMatchObject({ payload: json(said) })
  exact[Symbol.dispose]()
  connection.send(ask({ seq: 4, event: 'node.drain' }))
  expect(await connection.next('reply')).toMatchObject({ payload: json('node') })
})

test('a handler that throws failed, with its code where it has one', async () => {
  const { client, connection, errors } = await answering()
  const throwing: Record<string, unknown> = {
    plain: new Error('It broke.'),
    coded: Object.assign(new Error('Nothing there.'), { code: 'ENOENT' }),
    ours: damonError('conflict'),
    text: 'just text',
    long: new Error('ä'.repeat(1_000)),
  }
  for (const [event, error] of Object.entries(throwing))
    client.handle(event, () => {
      throw error
    })
  for (const [i, event] of Object.keys(throwing).entries()) connection.send(ask({ seq: i + 1, event }))
  const said = async () => {
    const { verdict, code, payload } = await connection.next('reply')
    expect(verdict).toBe('failed')
    return [code, new TextDecoder('utf-8', { fatal: true }).decode(payload)]
  }
  expect(await said()).toEqual(['handler_failed', 'It broke.'])
  expect(await said()).toEqual(['enoent', 'Nothing there.'])
  expect(await said()).toEqual(['conflict', 'The record has another revision than expected.'])
  expect(await said()).toEqual(['handler_failed', 'just text'])
  expect((await said())[1]).toBe('ä'.repeat(limits.reasonBytes / 2))
  expect(errors).toEqual([throwing.plain, throwing.text, throwing.long])
})

test('a question that is not JSON, an answer that cannot be one, an answer too large: failed', async () => {
  const { client, connection } = await answering()
  client.handle('echo', (value) => value)
  client.handle('function', () => () => 0)
  client.handle('large', () => new Uint8Array(limits.frameBytes))
  connection.send(ask({ seq: 1, event: 'echo', payload: new Uint8Array([0xff]) }))
  connection.send(ask({ seq: 2, event: 'function' }))
  connection.send(ask({ seq: 3, event: 'large' }))
  const replies = [await connection.next('reply'), await connection.next('reply'), await connection.next('reply')]
  expect(replies.map(({ verdict, code }) => [verdict, code])).toEqual(
    expect.arrayContaining([
      ['failed', 'bad_field'],
      ['failed', 'bad_field'],
      ['failed', 'too_large'],
    ]),
  )
})

test('parts go ahead of the answer, in order', async () => {
  const { client, connection } = await answering()
  client.handle('log', (_value, { part }) => {
    part('one')
    part('two')
    return 'end'
  })
  connection.send(ask({ number: 9, event: 'log' }))
  expect(await connection.next('part')).toMatchObject({ number: 1, request: 9, payload: json('one') })
  expect(await connection.next('part')).toMatchObject({ number: 2, request: 9, payload: json('two') })
  expect(await connection.next('reply')).toMatchObject({ number: 3, request: 9, payload: json('end') })
})

test('after the deadline the signal is aborted, and no answer is sent', async () => {
  const { client, connection } = await answering()
  const aborted = new Promise<unknown>((resolve) => {
    client.handle('slow', async (_value, { signal }) => {
      await new Promise((wake) => signal.addEventListener('abort', wake))
      resolve(signal.reason)
      return 'too late'
    })
  })
  connection.send(ask({ seq: 1, event: 'slow', deadline: 20 }))
  expect(await aborted).toMatchObject({ code: 'timed_out' })
  await client.all().send('next')
  expect(connection.frames.some(({ type }) => type === 'reply')).toBe(false)
})

test('a handler is told when its answer is not needed any more, and sends none', async () => {
  const { client, connection } = await answering()
  const signals = new Map<unknown, AbortSignal>()
  client.handle('slow', async (value, { signal }) => {
    signals.set(value, signal)
    await new Promise((wake) => signal.addEventListener('abort', wake))
    return 'too late'
  })
  const session = '00000000000000aa'
  for (const [i, value] of ['one', 'two'].entries())
    connection.send(ask({ seq: i + 1, number: i + 1, event: 'slow', payload: json(value) }))
  await eventually(() => expect(signals.size).toBe(2))
  const cancel = { type: 'cancel', origin: 1, to: 'group/bots', session } as const
  connection.send({ ...cancel, seq: 3, request: 7 })
  connection.send({ ...cancel, seq: 4, session: '00000000000000bb', request: 1 })
  connection.send({ ...cancel, seq: 5, request: 2 })
  await eventually(() => expect(signals.get('two')?.reason).toMatchObject({ code: 'cancelled' }))
  expect(signals.get('one')?.aborted).toBe(false)
  await client.all().send('next')
  expect(connection.frames.some(({ type }) => type === 'reply')).toBe(false)
})

test('beyond the concurrency of a handler the verdict is overloaded at once', async () => {
  const { client, connection } = await answering()
  expect(() => client.handle('none', () => 1, { concurrency: 0 })).toThrow(
    expect.objectContaining({ field: 'concurrency' }),
  )
  const answers: ((value: string) => void)[] = []
  client.handle('slow', () => new Promise<string>((resolve) => answers.push(resolve)), { concurrency: 2 })
  client.handle('other', () => 'fine')
  for (const seq of [1, 2, 3]) connection.send(ask({ seq, number: seq, event: 'slow' }))
  connection.send(ask({ seq: 4, number: 4, event: 'other' }))
  expect(await connection.next('reply')).toMatchObject({ request: 3, verdict: 'overloaded' })
  expect(await connection.next('reply')).toMatchObject({ request: 4, verdict: 'answered' })
  answers[0]?.('done')
  expect(await connection.next('reply')).toMatchObject({ request: 1, verdict: 'answered' })
  connection.send(ask({ seq: 5, number: 5, event: 'slow' }))
  await eventually(() => expect(answers).toHaveLength(3))
})

test('a part resolves when it is safe, so that who waits for it is no faster than the hub; later ones are refused', async () => {
  const { hub, client, connection } = await answering()
  hub.script.frame = ({ type }) => type === 'part'
  const steps: string[] = []
  let speak: ((value: unknown) => Promise<void>) | undefined
  client.handle('log', async (_value, { part }) => {
    speak = part
    const sent = part('one').then(() => steps.push('safe'))
    steps.push('sent')
    await sent
    return 'end'
  })
  connection.send(ask({ number: 9, event: 'log' }))
  await connection.next('part')
  expect(steps).toEqual(['sent'])
  connection.send({ type: 'ack', number: 1, origin: 1, seq: 1 })
  expect(await connection.next('reply')).toMatchObject({ payload: json('end') })
  expect(steps).toEqual(['sent', 'safe'])
  await expect(speak?.('late')).rejects.toMatchObject({ code: 'not_addressed' })
})

test('an answer for a lost session is not sent in the next', async () => {
  const { hub, client, connection } = await answering()
  let answer: (value: string) => void = () => undefined
  let reason: unknown
  client.handle('slow', (_value, { signal }) => {
    signal.addEventListener('abort', () => {
      reason = signal.reason
    })
    return new Promise((resolve) => {
      answer = resolve
    })
  })
  connection.send(ask({ event: 'slow' }))
  await client.all().send('first')
  connection.break()
  const second = await hub.connection(1)
  await client.ready()
  await eventually(() => expect(reason).toMatchObject({ code: 'disconnected' }))
  answer('too late')
  await client.all().send('next')
  expect(second.frames.some(({ type }) => type === 'reply')).toBe(false)
})

test('a closing client finishes what it was asked, and refuses more as draining', async () => {
  const { client, connection } = await answering()
  let answer: (value: string) => void = () => undefined
  client.handle(
    'slow',
    () =>
      new Promise((resolve) => {
        answer = resolve
      }),
  )
  connection.send(ask({ seq: 1, number: 1, event: 'slow' }))
  await client.all().send('first')
  const closing = client.close('done here')
  connection.send(ask({ seq: 2, number: 2, event: 'slow' }))
  expect(await connection.next('reply')).toMatchObject({ request: 2, verdict: 'draining' })
  answer('done')
  expect(await connection.next('reply')).toMatchObject({ request: 1, verdict: 'answered', payload: json('done') })
  expect(await connection.next('bye')).toMatchObject({ reason: 'done here' })
  await closing
  expect(client.state).toBe('closed')
})

test('a closing client waits for its acknowledgements', async () => {
  const { hub, client, connection } = await answering()
  hub.script.frame = ({ type }) => type === 'send'
  const send = client.all().send('last')
  const closing = client.close()
  await connection.next('send')
  expect(connection.frames.some(({ type }) => type === 'bye')).toBe(false)
  connection.send({ type: 'ack', number: 1, origin: 1, seq: 1 })
  await send
  await closing
  expect(connection.frames.at(-1)?.type).toBe('bye')
})
