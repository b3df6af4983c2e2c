import { verifyProof } from '@damon/trust/proof'
import { readToken } from '@damon/trust/token'
import { expect, test } from 'vitest'
import { connect, open } from '../src/connect.ts'
import { aClient, aHub, quick } from './a-hub.ts'

for (const codec of ['binary', 'json'] as const) {
  test(`answers the challenge with token, proof, version and groups (${codec})`, async () => {
    const hub = await aHub()
    hub.script.opened = (connection) => {
      connection.send({ type: 'challenge', nonce: 'a-nonce-of-this-test', protocol: 'damon.v1', helloMs: 5_000 })
      return true
    }
    const { client, states } = await aClient(hub, { codec, name: 'music', version: '1.2.3', groups: ['bots'] })
    await client.ready()
    const connection = await hub.connection(0)
    const hello = await connection.next('hello')
    expect(hello).toMatchObject({ version: 'music/1.2.3', groups: ['bots'] })
    const isHost = (host: string) => host === '127.0.0.1'
    await verifyProof(hello.proof, readToken(hello.token), { nonce: 'a-nonce-of-this-test', isHost })
    expect(client.subject).toBe('bot/one')
    expect(client.session).toBe(connection.session)
    expect(states).toMatchObject([{ state: 'connected', resumed: false, session: connection.session }])
  })
}

test('connect resolves when the hub has welcomed it, and disposing it says bye', async () => {
  const hub = await aHub()
  {
    await using client = await connect(hub.credential())
    expect(client.state).toBe('connected')
  }
  const connection = await hub.connection(0)
  await connection.next('bye')
})

test.each(['bad_token', 'token_expired', 'bad_proof', 'denied'] as const)('%s is final', async (code) => {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type !== 'hello') return false
    connection.send({ type: 'error', code, message: 'no', retry: false })
    connection.close(3503, 'unauthorized')
    return true
  }
  await expect(connect(hub.credential(), { backoff: quick })).rejects.toMatchObject({ code })
  expect(hub.connections).toHaveLength(1)
})

test('a refusal in a word that this client does not know is final, and quoted', async () => {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type !== 'hello') return false
    connection.send({ type: 'error', code: 'wrong_moon', message: 'Not tonight.', retry: false })
    return true
  }
  const error: Error = await connect(hub.credential()).then(
    () => expect.unreachable(),
    (reason) => reason,
  )
  expect(error).toMatchObject({ retry: false })
  expect(error.message).toContain('wrong_moon: Not tonight.')
})

test('a close code from 3500 is final without a word before it', async () => {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type === 'hello') connection.close(3505, 'token_revoked')
    return frame.type === 'hello'
  }
  await expect(connect(hub.credential())).rejects.toMatchObject({ code: 'token_revoked' })
})

test('a hub at its limit is asked again', async () => {
  const hub = await aHub()
  hub.script.frame = (frame, connection) => {
    if (frame.type !== 'hello' || hub.connections.length > 2) return false
    connection.send({ type: 'error', code: 'overloaded', message: 'full', retry: true })
    connection.close(3004, 'overloaded')
    return true
  }
  const { client, states } = await aClient(hub)
  await client.ready()
  expect(states).toMatchObject([
    { state: 'connecting', reason: 'overloaded', error: { code: 'overloaded' } },
    { state: 'connecting', reason: 'overloaded' },
    { state: 'connected' },
  ])
})

test('connect gives up when its signal is aborted, and leaves nothing behind', async () => {
  const hub = await aHub()
  hub.script.opened = () => true
  const abort = new AbortController()
  const connecting = connect(hub.credential(), { signal: abort.signal })
  const connection = await hub.connection(0)
  abort.abort(new Error('enough'))
  await expect(connecting).rejects.toThrow('enough')
  await connection.closed
})

test('a signal aborted after the welcome changes nothing', async () => {
  const hub = await aHub()
  const abort = new AbortController()
  await using client = await connect(hub.credential(), { signal: abort.signal })
  abort.abort()
  expect(client.state).toBe('connected')
})

test('says what is wrong with a connection file, and never what is in it', async () => {
  await expect(connect('/nowhere/bot.json')).rejects.toMatchObject({ code: 'bad_credential' })
  await expect(connect('{"damon":1}')).rejects.toMatchObject({ code: 'bad_credential', field: 'urls' })
  await expect(connect('damon1.!')).rejects.toMatchObject({ code: 'bad_credential' })
})

test('dials without TLS only this machine', async () => {
  const hub = await aHub()
  await expect(open(hub.credential(['ws://hub.example:1']))).rejects.toMatchObject({ code: 'bad_credential' })
  await expect(open(hub.credential(['https://hub.example']))).rejects.toMatchObject({ code: 'bad_credential' })
})

test('a hello that would be too large does without resume first, then joins groups one by one', async () => {
  const hub = await aHub()
  const groups = Array.from({ length: 60 }, (_, i) => `${i}`.padStart(64, 'g'))
  const { client } = await aClient(hub, { groups })
  await client.ready()
  const connection = await hub.connection(0)
  const { groups: greeted = [] } = await connection.next('hello')
  expect(greeted.length).toBeGreaterThan(10)
  const joined: string[] = []
  while (greeted.length + joined.length < 60) joined.push((await connection.next('join')).group)
  expect([...greeted, ...joined].sort()).toEqual(groups.sort())
})
