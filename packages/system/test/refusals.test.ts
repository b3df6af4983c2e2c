import { once } from 'node:events'
import { get } from 'node:https'
import { connect } from 'node:net'
import { type CloseName, closes } from '@damon/protocol/closes'
import { type ErrorCode, errors } from '@damon/protocol/errors'
import type { ClientFrame, Codec } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import type { RunningService } from '@damon/testkit/process'
import type { Credential } from '@damon/trust/credential'
import { generateKey } from '@damon/trust/keys'
import { prove } from '@damon/trust/proof'
import { readToken } from '@damon/trust/token'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { buildHouse, type House } from '../src/house.ts'
import { openRaw, type RawClient, type RawOptions } from '../src/raw-client.ts'

const page = 'https://console.example'
/** What every session of these tests may do; a refusal must leave it that. */
const always = ['get:allowed/*', 'send:group/allowed:ok']
const payload = new Uint8Array()
const unknownSession = '0123456789abcdef'

let house: House
let hub: RunningService
let url: string
let ca: string | undefined
let count = 0
const clients: RawClient[] = []

beforeAll(async () => {
  house = await buildHouse()
  hub = await house.startHub({ HUB_ORIGINS: page, HUB_HEARTBEAT_MS: '4000' })
  url = hub.ready.url ?? ''
  ca = (await house.credential(url, 'bot/any', [])).ca
})
afterEach(() => {
  for (const client of clients.splice(0)) client[Symbol.dispose]()
})
afterAll(async () => {
  await hub?.[Symbol.asyncDispose]()
  await house?.[Symbol.asyncDispose]()
})

async function open(options: Partial<RawOptions> = {}): Promise<RawClient> {
  const client = await openRaw(url, { ca, ...options })
  clients.push(client)
  return client
}

/** A session that may do what is always allowed, and this. */
async function session(can: string[] = [], options: Partial<RawOptions> & { sub?: string } = {}) {
  const client = await open(options)
  const credential = await house.credential(url, options.sub ?? `bot/r${++count}`, [...always, ...can])
  const welcome = await client.hello(credential)
  return Object.assign(client, { credential, welcome })
}

async function proof({ identity, token }: Credential, nonce: string, unusual: { host?: string; jti?: string } = {}) {
  if (!identity) throw new Error('The credential has no key.')
  return prove(identity, { nonce, host: 'localhost', jti: readToken(token).jti, ...unusual })
}

function closing(name: CloseName) {
  return { code: closes[name].code, reason: name }
}

async function expectEnd(client: RawClient, code: ErrorCode, close: CloseName): Promise<void> {
  expect(await client.next('error')).toMatchObject({ code, retry: errors[code].retry })
  expect(await client.closed).toEqual(closing(close))
  expect(client.frames.map(({ type }) => type)).not.toContain('welcome')
}

/** That nothing is lost to a session by what it was refused; `number` is that of its next send. */
async function expectAlive(client: RawClient, number: number): Promise<void> {
  const id = 4_000_000_000 + number
  expect(await client.ask({ type: 'get', id, key: 'allowed/thing' })).toMatchObject({ type: 'records', entries: [] })
  const send: ClientFrame = {
    type: 'send',
    number,
    again: false,
    any: false,
    bytes: false,
    to: 'group/allowed',
    event: 'ok',
    payload,
  }
  expect(await client.ask(send)).toMatchObject({ type: 'ack' })
}

test('who says nothing for five seconds is let go', { timeout: 30_000 }, async () => {
  const client = await open()
  expect(await client.closed).toEqual(closing('hello_timeout'))
  expect(client.frames.map(({ type }) => type)).not.toContain('welcome')
})

describe('the upgrade', () => {
  test.each([
    ['with no sub-protocol that the hub speaks', { protocols: ['damon.v9', 'chat'] }, 400],
    ['from a page that is not listed', { origin: 'https://evil.example' }, 403],
    ['from a page whose address only begins like a listed one', { origin: `${page}.evil.example` }, 403],
  ])('%s is refused', async (_what, options, status) => {
    await expect(open(options)).rejects.toThrowError(`Unexpected server response: ${status}`)
  })

  test('from a listed page, and with a known sub-protocol among others, is taken', async () => {
    const client = await open({ origin: page, protocols: ['chat', 'damon.v1'] })
    expect(client.ws.protocol).toBe('damon.v1')
    expect(await client.next('challenge')).toMatchObject({ protocol: 'damon.v1', helloMs: limits.helloMs })
  })

  test('is what every other request is told to ask for', async () => {
    const request = get(`${url.replace('wss:', 'https:')}/metrics`, { ca })
    const [response] = await once(request, 'response')
    expect(response.statusCode).toBe(426)
    expect(response.headers.upgrade).toBe('websocket')
    response.resume()
  })

  test('without TLS gets no answer', async () => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    const heard: Buffer[] = []
    socket.on('data', (data) => heard.push(data)).on('error', () => undefined)
    socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n')
    await once(socket, 'close')
    expect(Buffer.concat(heard).toString()).not.toContain('HTTP/')
  })
})

describe.each<Codec>(['binary', 'json'])('with %s frames, a hello', (codec) => {
  const tamper = (token: string, part: 1 | 2) => {
    const parts = token.split('.')
    const text = parts[part] ?? ''
    const at = Math.floor(text.length / 2)
    parts[part] = `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`
    return parts.join('.')
  }
  const now = () => Math.floor(Date.now() / 1000)

  test.each<[string, (good: Credential) => Promise<Credential> | Credential, ErrorCode, CloseName]>([
    ['with an empty token', (good) => ({ ...good, token: '' }), 'bad_token', 'unauthorized'],
    ['with a token of garbage', (good) => ({ ...good, token: 'a.b.c' }), 'bad_token', 'unauthorized'],
    ['with a changed claim', (good) => ({ ...good, token: tamper(good.token, 1) }), 'bad_token', 'unauthorized'],
    ['with a changed signature', (good) => ({ ...good, token: tamper(good.token, 2) }), 'bad_token', 'unauthorized'],
    [
      'with a token of an unknown issuer',
      async () =>
        house.credential(url, 'bot/x', [], { issuer: { kid: 'op-9', key: (await generateKey()).privateKey } }),
      'bad_token',
      'unauthorized',
    ],
    [
      "with a token in a listed issuer's name by another key",
      async () =>
        house.credential(url, 'bot/x', [], { issuer: { kid: 'op-1', key: (await generateKey()).privateKey } }),
      'bad_token',
      'unauthorized',
    ],
    [
      'with a token for another hub',
      () => house.credential(url, 'bot/x', [], { aud: 'damon:elsewhere' }),
      'bad_token',
      'unauthorized',
    ],
    [
      'with an expired token',
      () => house.credential(url, 'bot/x', [], { iat: now() - 3_600, exp: now() - 120 }),
      'token_expired',
      'token_expired',
    ],
    [
      'with a token from the future',
      () => house.credential(url, 'bot/x', [], { iat: now() + 120, exp: now() + 3_600 }),
      'token_expired',
      'token_expired',
    ],
  ])('%s is refused', async (_what, make, code, close) => {
    const client = await open({ codec })
    const good = await house.credential(url, 'bot/x', always)
    const bad = await make(good)
    const { nonce } = await client.next('challenge')
    // A token that cannot be read names no id; the proof is then that of the good one.
    const shown = await proof(bad, nonce).catch(() => proof(good, nonce))
    client.send({ type: 'hello', token: bad.token, proof: shown })
    await expectEnd(client, code, close)
  })

  test.each<[string, (good: Credential, nonce: string) => Promise<string | undefined>, ErrorCode]>([
    ['none', async () => undefined, 'proof_required'],
    ['garbage', async () => 'x.y.z', 'bad_proof'],
    ['one for another host', (good, nonce) => proof(good, nonce, { host: 'evil.example' }), 'bad_proof'],
    ['one for another token', (good, nonce) => proof(good, nonce, { jti: 'another' }), 'bad_proof'],
    [
      'one by another key',
      async (good, nonce) => proof({ ...good, identity: (await generateKey()).privateKey }, nonce),
      'bad_proof',
    ],
    [
      'the one that another connection was welcomed with',
      async (good) => {
        const other = await open({ codec })
        const old = await proof(good, (await other.next('challenge')).nonce)
        other.send({ type: 'hello', token: good.token, proof: old })
        await other.next('welcome')
        return old
      },
      'bad_proof',
    ],
  ])('whose proof is %s is refused', async (_what, make, code) => {
    const client = await open({ codec })
    const good = await house.credential(url, `bot/p${++count}`, always)
    const shown = await make(good, (await client.next('challenge')).nonce)
    client.send({ type: 'hello', token: good.token, proof: shown })
    await expectEnd(client, code, 'unauthorized')
  })

  test('into a group that the token does not allow is refused', async () => {
    const client = await open({ codec })
    await expect(
      client.hello(await house.credential(url, 'bot/x', always), { groups: ['bots'] }),
    ).rejects.toThrowError()
    await expectEnd(client, 'denied', 'unauthorized')
  })

  test('that is none is refused: the first frame says who one is', async () => {
    const client = await open({ codec })
    client.send({ type: 'get', id: 1, key: 'allowed/thing' })
    await expectEnd(client, 'unexpected_frame', 'bad_frame')
  })

  test('of more than four KiB is refused unread', async () => {
    const client = await open({ codec })
    client.sendRaw(codec === 'json' ? ' '.repeat(limits.helloBytes + 1) : new Uint8Array(limits.helloBytes + 1))
    await expectEnd(client, 'too_large', 'too_large')
  })

  test('with a field that is none is refused', async () => {
    const client = await open({ codec })
    client.send({ type: 'hello', token: 1 } as unknown as ClientFrame)
    expect(await client.next('error')).toMatchObject({ code: 'bad_field', field: 'token' })
    expect(await client.closed).toEqual(closing('bad_frame'))
  })

  test('said twice is refused the second time, and the session goes on', async () => {
    const client = await session([], { codec })
    client.send({ type: 'hello', token: client.credential.token })
    expect(await client.next('error')).toMatchObject({ code: 'unexpected_frame', retry: false })
    await expectAlive(client, 1)
  })
})

const addressed = { number: 1, again: false, any: false, bytes: false, payload }
const answer = { number: 1, again: false, bytes: false, session: unknownSession, request: 1, payload }

describe.each<Codec>(['binary', 'json'])('with %s frames, a session is refused', (codec) => {
  test.each<[string, string[], ClientFrame & ({ id: number } | { number: number }), ErrorCode, string | undefined]>([
    ['to join', ['join:bots'], { type: 'join', id: 1, group: 'others' }, 'denied', 'group'],
    [
      'to send to a target',
      ['send:group/bots'],
      { type: 'send', ...addressed, to: 'group/others', event: 'x' },
      'denied',
      'to',
    ],
    [
      'to send to one client',
      ['send:client/bot/a'],
      { type: 'send', ...addressed, to: 'client/bot/b', event: 'x' },
      'denied',
      'to',
    ],
    ['to send to all', ['send:group/*'], { type: 'send', ...addressed, to: 'all', event: 'x' }, 'denied', 'to'],
    [
      'to send an event',
      ['send:group/bots:player.*'],
      { type: 'send', ...addressed, to: 'group/bots', event: 'node.drain' },
      'denied',
      'to',
    ],
    [
      'to ask',
      ['send:group/bots', 'ask:group/bots:player.*'],
      { type: 'request', ...addressed, deadline: 0, quorum: 0, to: 'group/bots', event: 'node.stats' },
      'denied',
      'to',
    ],
    [
      "to ask the hub's workers",
      ['send:*'],
      { type: 'request', ...addressed, deadline: 0, quorum: 0, to: 'group/hubs', event: 'hub.status' },
      'denied',
      'to',
    ],
    ['to get', ['put:node/*'], { type: 'get', id: 1, key: 'node/a' }, 'denied', 'key'],
    ['to list', ['get:node/a'], { type: 'list', id: 1, prefix: 'node/' }, 'denied', 'prefix'],
    ['to list everything', ['get:node/*'], { type: 'list', id: 1, prefix: '' }, 'denied', 'prefix'],
    ['to watch', ['get:node/*'], { type: 'watch', id: 1, prefix: 'node-secret/' }, 'denied', 'prefix'],
    ['to put', ['get:node/*'], { type: 'put', id: 1, key: 'node/a', payload }, 'denied', 'key'],
    ['to put beside its prefix', ['put:node/*'], { type: 'put', id: 1, key: 'nodes/a', payload }, 'denied', 'key'],
    ['to patch', ['get:node/*'], { type: 'patch', id: 1, key: 'node/a', payload }, 'denied', 'key'],
    ['to drop', ['get:node/*'], { type: 'drop', id: 1, key: 'node/a' }, 'denied', 'key'],
    [
      'to patch what is not there',
      ['put:node/*'],
      { type: 'patch', id: 1, key: 'node/none', payload },
      'not_found',
      undefined,
    ],
    ['to drop what is not there', ['put:node/*'], { type: 'drop', id: 1, key: 'node/none' }, 'not_found', undefined],
    [
      'to put what has not the expected revision',
      ['put:node/*'],
      { type: 'put', id: 1, key: 'node/none', expect: 7, payload },
      'conflict',
      undefined,
    ],
    [
      'a record of 65 KiB',
      ['put:node/*'],
      { type: 'put', id: 1, key: 'node/a', payload: new Uint8Array(65 * 1024).fill(0x61) },
      'too_large',
      'payload',
    ],
    [
      'to reply to a request that nobody made',
      [],
      { type: 'reply', ...answer, verdict: 'answered', code: '' },
      'not_addressed',
      undefined,
    ],
    ['a part of an answer that nobody asked for', [], { type: 'part', ...answer }, 'not_addressed', undefined],
    [
      'an answer with a code that is no word',
      [],
      { type: 'reply', ...answer, verdict: 'failed', code: 'No Word' },
      'bad_field',
      'code',
    ],
    [
      'an address that is none',
      ['send:*'],
      { type: 'send', ...addressed, to: 'group/a/b', event: 'x' },
      'bad_field',
      'to',
    ],
    [
      'the channel of a session as an address',
      ['send:*'],
      { type: 'send', ...addressed, to: `session/${unknownSession}`, event: 'x' },
      'bad_field',
      'to',
    ],
    [
      'an event that is none',
      ['send:*'],
      { type: 'send', ...addressed, to: 'group/a', event: 'Not An Event' },
      'bad_field',
      'event',
    ],
    ['any of all', ['send:*'], { type: 'send', ...addressed, any: true, to: 'all', event: 'x' }, 'bad_field', 'any'],
    [
      'one member of an empty group',
      ['send:*'],
      { type: 'send', ...addressed, any: true, to: 'group/nobody', event: 'x' },
      'no_receiver',
      undefined,
    ],
    [
      'a deadline of an hour',
      ['ask:*'],
      { type: 'request', ...addressed, deadline: 3_600_000, quorum: 0, to: 'group/a', event: 'x' },
      'bad_field',
      'deadline',
    ],
  ])('%s, and goes on', async (_what, can, frame, code, field) => {
    const client = await session(can, { codec })
    const answered = await client.ask(frame)
    expect(answered).toMatchObject({ type: 'error', code, retry: errors[code].retry })
    expect((answered as { field?: string }).field).toBe(field)
    await expectAlive(client, 'number' in frame ? 2 : 1)
  })

  test('the place of a frame that it left out, and is let go', async () => {
    const client = await session(['send:*'], { codec })
    client.send({ type: 'send', ...addressed, number: 2, to: 'group/a', event: 'x' })
    expect(await client.next('error')).toMatchObject({ code: 'bad_field', field: 'number' })
    expect(await client.closed).toEqual(closing('bad_frame'))
  })

  test("to write, change or drop another's live record, whose owner keeps it", async () => {
    const [owner, thief] = [
      await session(['put:node/*', 'get:node/*'], { codec }),
      await session(['put:node/*'], { codec }),
    ]
    const key = `node/n${++count}`
    const value = new TextEncoder().encode('mine')
    await owner.ask({ type: 'put', id: 1, key, lease: true, payload: value })
    for (const frame of [
      { type: 'put', id: 1, key, lease: true, payload },
      { type: 'put', id: 2, key, payload },
      { type: 'patch', id: 3, key, payload },
      { type: 'drop', id: 4, key },
    ] as const)
      expect(await thief.ask(frame)).toMatchObject({ type: 'error', code: 'not_owner' })
    expect(await owner.ask({ type: 'get', id: 2, key })).toMatchObject({
      entries: [{ key, change: 'put', leased: true }],
      payload: value,
    })
    await expectAlive(thief, 1)
  })

  test('a reply to a request that went to another, and a second reply of its own', async () => {
    const group = `g${++count}`
    const asker = await session([`ask:group/${group}`], { codec })
    const asked = await session([`join:${group}`], { codec })
    const bystander = await session([], { codec })
    await asked.ask({ type: 'join', id: 1, group })
    await asker.ask({ type: 'request', ...addressed, deadline: 20_000, quorum: 0, to: `group/${group}`, event: 'x' })
    const message = await asked.next('message')
    const reply = {
      type: 'reply',
      again: false,
      bytes: false,
      session: message.session,
      request: message.number,
      verdict: 'answered',
      code: '',
    } as const
    const forged = new TextEncoder().encode('forged')
    expect(await bystander.ask({ ...reply, number: 1, payload: forged })).toMatchObject({ code: 'not_addressed' })
    expect(await asked.ask({ ...reply, number: 1, payload })).toMatchObject({ type: 'ack' })
    expect(await asked.ask({ ...reply, number: 2, payload: forged })).toMatchObject({ code: 'not_addressed' })
    expect(await asker.next('settled')).toMatchObject({ request: 1, tally: { answered: 1 } })
    const verdicts = asker.frames.filter(({ type }) => type === 'verdict')
    expect(verdicts).toMatchObject([{ session: asked.welcome.session, from: asked.welcome.subject, payload }])
    await expectAlive(bystander, 2)
    await expectAlive(asked, 3)
  })

  test("another's token, another key or garbage in place of its own", async () => {
    const client = await session([], { codec })
    const { subject } = client.welcome
    const tokens = [
      await house.credential(url, 'bot/another', always, { identity: client.credential.identity! }),
      await house.credential(url, subject, always),
      { token: 'a.b.c' },
    ]
    for (const [id, { token }] of tokens.entries())
      expect(await client.ask({ type: 'auth', id, token })).toMatchObject({ type: 'error', code: 'bad_token' })
    await expectAlive(client, 1)
  })

  test('from then on what its new token does not allow', async () => {
    const client = await session(['get:node/*', 'put:node/*'], { codec })
    await client.ask({ type: 'watch', id: 1, prefix: 'node/' })
    const { identity } = client.credential
    const { token } = await house.credential(url, client.welcome.subject, always, { identity: identity! })
    client.send({ type: 'auth', id: 2, token })
    expect(await client.next('error')).toMatchObject({ code: 'denied', id: 1 })
    expect(await client.next('ack')).toMatchObject({ id: 2 })
    expect(await client.ask({ type: 'put', id: 3, key: 'node/a', payload })).toMatchObject({ code: 'denied' })
    await expectAlive(client, 1)
  })

  test('its line, to be opened anew, where the new token does not allow a group that it is in', async () => {
    const client = await session(['join:bots'], { codec })
    await client.ask({ type: 'join', id: 1, group: 'bots' })
    const { identity } = client.credential
    const { token } = await house.credential(url, client.welcome.subject, always, { identity: identity! })
    client.send({ type: 'auth', id: 2, token })
    expect(await client.next('error')).toMatchObject({ code: 'denied' })
    expect(await client.closed).toEqual(closing('rights_changed'))
  })
})

describe('a session is let go that sends', () => {
  test.each<[string, Codec, (client: RawClient) => void, CloseName]>([
    [
      'a frame beyond the limit',
      'binary',
      (client) => client.sendRaw(new Uint8Array(limits.frameBytes + 1)),
      'too_large',
    ],
    [
      'a frame in too many pieces',
      'json',
      ({ ws }) => {
        for (let i = 0; i <= limits.fragments; i++) ws.send(' ', { fin: false })
      },
      'too_large',
    ],
    ['text that is no UTF-8', 'json', ({ ws }) => ws.send(Buffer.from([0xc3, 0x28]), { binary: false }), 'bad_frame'],
    ['text that is no JSON', 'json', (client) => client.sendRaw('{"type":'), 'bad_frame'],
    ['text where bytes are spoken', 'binary', (client) => client.sendRaw('{"type":"ping"}'), 'bad_frame'],
    ['bytes where text is spoken', 'json', (client) => client.sendRaw(new Uint8Array([29, 0])), 'bad_frame'],
    ['a frame type that does not exist', 'binary', (client) => client.sendRaw(new Uint8Array([63, 0])), 'bad_frame'],
    ['a frame type of the hub', 'json', (client) => client.sendRaw('{"type":"welcome"}'), 'bad_frame'],
    ['half a frame', 'binary', (client) => client.sendRaw(new Uint8Array([24, 0, 0, 0])), 'bad_frame'],
  ])('%s', async (_what, codec, send, close) => {
    const [client, neighbour] = [await session([], { codec }), await session([], { codec })]
    send(client)
    expect(await client.closed).toEqual(closing(close))
    await expectAlive(neighbour, 1)
  })
})

test('a session ends with its token, unless a fresh one came in time', async () => {
  const now = Math.floor(Date.now() / 1000)
  const [ending, renewing] = [await open(), await open()]
  await ending.hello(await house.credential(url, 'bot/ending', always, { iat: now - 10, exp: now + 4 }))
  const short = await house.credential(url, 'bot/renewing', always, { iat: now - 10, exp: now + 3 })
  await renewing.hello(short)
  const fresh = await house.credential(url, 'bot/renewing', always, { identity: short.identity! })
  expect(await renewing.ask({ type: 'auth', id: 1, token: fresh.token })).toMatchObject({ type: 'ack' })
  expect(await ending.next('error')).toMatchObject({ code: 'token_expired' })
  expect(await ending.closed).toEqual(closing('token_expired'))
  await expectAlive(renewing, 1)
})

test('nothing of a token, a proof or a value is in what the hub wrote of all this', async () => {
  const client = await session(['put:node/*'])
  const secret = 'a-value-that-nobody-logs'
  await client.ask({ type: 'put', id: 1, key: 'node/secret', payload: new TextEncoder().encode(secret) })
  await client.ask({ type: 'auth', id: 2, token: `${client.credential.token}x` })
  client.send({ type: 'bye' })
  expect(await client.closed).toEqual(closing('bye'))
  expect(hub.output).not.toContain(secret)
  expect(hub.output).not.toContain(client.credential.token.slice(0, 60))
  expect(hub.output).not.toMatch(/a handler failed|uncaught|died/)
})
