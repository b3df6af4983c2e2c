import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { connect } from '@damon/client/connect'
import type { Hub } from '@damon/client/hub'
import { encodeClientFrame } from '@damon/protocol/codec-binary'
import { encodeClientText } from '@damon/protocol/codec-json'
import type { ClientFrame, Codec } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { eventually } from '@damon/testkit/eventually'
import type { RunningService } from '@damon/testkit/process'
import type { Credential } from '@damon/trust/credential'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildHouse, type House } from '../src/house.ts'
import { openRaw, type RawClient } from '../src/raw-client.ts'

/** Set HOSTILE_SEED to what a failed run printed to see the same frames again. */
const seed = Number(process.env.HOSTILE_SEED ?? Date.now() % 2 ** 32) >>> 0
const random = mulberry32(seed)

const hostileFrames = 3_000
const hostileLines = 160
const attackers = 8

let house: House
let hub: RunningService
let url: string
let port: number
let hostile: Credential

beforeAll(async () => {
  house = await buildHouse()
  hub = await house.startHub()
  url = hub.ready.url ?? ''
  port = Number(new URL(url).port)
  hostile = await house.credential(url, 'bot/hostile', [
    ...['join:hostile', 'send:group/hostile', 'send:all', 'ask:group/hostile', 'get:thing/*', 'put:thing/*'],
  ])
})
afterAll(async () => {
  await hub?.[Symbol.asyncDispose]()
  await house?.[Symbol.asyncDispose]()
})

/** A small, fast generator of numbers from 0 to 1 that a seed determines. */
function mulberry32(start: number): () => number {
  let state = start
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

const below = (end: number) => Math.floor(random() * end)
const pick = <T>(list: readonly T[]): T => list[below(list.length)] as T
const noise = (length: number) => Buffer.from(Array.from({ length }, () => below(256)))

function validFrame(number: number): ClientFrame {
  const payload = noise(below(60))
  const id = below(2 ** 32)
  const key = `thing/${pick(['a', 'b', 'c'])}`
  const flags = { again: random() < 0.2, any: random() < 0.2, bytes: random() < 0.5 }
  const to = pick(['group/hostile', 'all', 'group/others', 'client/bot/hostile'])
  const answer = { number, again: false, bytes: false, session: '0123456789abcdef', request: below(9), payload }
  return pick<() => ClientFrame>([
    () => ({ type: 'send', number, ...flags, to, event: 'x', payload }),
    () => ({ type: 'request', number, ...flags, to, event: 'x', deadline: below(500), quorum: below(3), payload }),
    () => ({ type: 'reply', ...answer, verdict: pick(['answered', 'failed']), code: '' }),
    () => ({ type: 'part', ...answer }),
    () => ({ type: 'hello', token: hostile.token, groups: ['hostile'] }),
    () => ({ type: 'auth', id, token: hostile.token }),
    () => ({ type: 'join', id, group: pick(['hostile', 'others']) }),
    () => ({ type: 'leave', id, group: 'hostile' }),
    () => ({ type: 'cancel', request: number }),
    () => ({ type: 'put', id, key, lease: random() < 0.5, payload }),
    () => ({ type: 'patch', id, key, payload }),
    () => ({ type: 'drop', id, key, reason: 'gone' }),
    () => ({ type: 'get', id, key }),
    () => ({ type: 'list', id, prefix: pick(['thing/', '', 'thing/a']) }),
    () => ({ type: 'watch', id: below(99), prefix: 'thing/' }),
    () => ({ type: 'unwatch', id: below(99) }),
    () => ({ type: 'ping', t: random() }),
  ])()
}

function mutated(bytes: Buffer): Buffer {
  let result = Buffer.from(bytes)
  for (let left = 1 + below(3); left > 0; left--) {
    const at = below(result.length || 1)
    const kind = below(5)
    if (kind === 0 && result.length > 0) result.writeUInt8((result[at] ?? 0) ^ (1 << below(8)), at)
    else if (kind === 1 && result.length > 0) result.writeUInt8(pick([0, 1, 0x7f, 0x80, 0xff]), at)
    else if (kind === 2) result = result.subarray(0, at)
    else if (kind === 3) result = Buffer.concat([result.subarray(0, at), noise(1 + below(4)), result.subarray(at)])
    else result = Buffer.concat([result, result.subarray(at)])
  }
  return result
}

/** JSON with a value where nobody expects it. */
function misshapen(frame: ClientFrame): string {
  const object: Record<string, unknown> = JSON.parse(encodeClientText(frame))
  const field = pick([...Object.keys(object), 'id', 'number', 'payload', 'text', 'base64', '__proto__', 'constructor'])
  const values = [null, -1, 0.5, 2 ** 53, '', 'x'.repeat(300), '\ud800', [], {}, [[[[]]]], true, { type: 'bye' }]
  Object.defineProperty(object, field, { value: pick(values), enumerable: true })
  return JSON.stringify(object)
}

/** One hostile WebSocket message for a session whose next number is this. */
function hostileMessage(codec: Codec, number: number): Uint8Array | string {
  const frame = validFrame(random() < 0.9 ? number : pick([0, number - 1, number + 1, 2 ** 32 - 1]) >>> 0)
  const bytes = Buffer.from(encodeClientFrame(frame))
  const kind = below(codec === 'json' ? 12 : 10)
  if (kind === 0) return noise(below(80))
  if (kind === 1) return codec === 'json' ? bytes : encodeClientText(frame)
  if (kind === 2)
    return codec === 'json' ? pick(['', '{', 'null', '[]', '{}', '"x"', '['.repeat(5_000)]) : bytes.subarray(0, 1)
  if (kind === 3 && codec === 'binary') return Buffer.concat([Buffer.from([24, 0, 0xff, 0xff, 0xff, 0xff]), noise(9)])
  if (kind === 4 && random() < 0.1) return Buffer.alloc(limits.frameBytes + 1, 'x')
  if (codec === 'binary') return mutated(bytes)
  return kind < 7 ? mutated(Buffer.from(encodeClientText(frame))).toString() : misshapen(frame)
}

/** Keeps sending hostile messages, on as many connections as it takes, until `left` says that it was enough. */
async function attack(codec: Codec, left: () => boolean): Promise<void> {
  while (left()) {
    using client: RawClient = await openRaw(url, { ca: hostile.ca, codec })
    const settled = () => client.frames.filter((frame) => 'number' in frame && frame.number !== undefined).length
    // Now and then somebody who never says who he is.
    const ready = random() < 0.9 ? client.hello(hostile) : client.next('challenge')
    const open = await ready.then(
      () => true,
      () => false,
    )
    while (open && client.ws.readyState === client.ws.OPEN && left()) {
      client.sendRaw(hostileMessage(codec, settled() + 1))
      client.send({ type: 'ping' })
      await client.next('pong').catch(() => undefined)
    }
  }
}

/** A WebSocket frame as a client would send it, and as none would: RFC 6455, 5.2. */
function webSocketFrame(
  opcode: number,
  payload: Buffer,
  unusual: { fin?: boolean; rsv?: number; length?: bigint; bare?: boolean } = {},
) {
  const { fin = true, rsv = 0, length = BigInt(payload.length), bare = false } = unusual
  const head = Buffer.alloc(10)
  head.writeUInt8((fin ? 0x80 : 0) | rsv | opcode, 0)
  head.writeUInt8((bare ? 0 : 0x80) | 127, 1)
  head.writeBigUInt64BE(length, 2)
  return Buffer.concat([head, bare ? Buffer.alloc(0) : Buffer.alloc(4), payload])
}

const upgrade = (path = '/') =>
  `GET ${path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n` +
  `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: damon.v1.json\r\n\r\n`

/** Bytes that break the rules below the frames; each is written to a line of its own. */
function brokenBytes(): { upgraded: boolean; bytes: Buffer } {
  const text = Buffer.from('{"type":"ping"}')
  const lines = [
    () => noise(1 + below(500)),
    () => webSocketFrame(1, text, { bare: true }),
    () => webSocketFrame(1, text, { rsv: 0x40 }),
    () => webSocketFrame(pick([3, 7, 11, 15]), text),
    () => webSocketFrame(1, Buffer.from([0xc3, 0x28, 0xff])),
    () => webSocketFrame(0, text),
    () => webSocketFrame(9, Buffer.alloc(126)),
    () => webSocketFrame(8, Buffer.from([3])),
    () => webSocketFrame(8, Buffer.from([0, 5])),
    () => webSocketFrame(1, text, { length: 2n ** 63n - 1n }),
    () => webSocketFrame(2, text, { length: 2n ** 40n }),
    () => webSocketFrame(1, Buffer.alloc(limits.frameBytes + 1, ' ')),
    () => webSocketFrame(1, text, { fin: false }),
    () =>
      Buffer.concat(
        Array.from({ length: limits.fragments * 3 }, (_, i) => webSocketFrame(i === 0 ? 1 : 0, text, { fin: false })),
      ),
    () => Buffer.concat(Array.from({ length: 2_000 }, () => webSocketFrame(9, Buffer.alloc(100)))),
  ]
  const heads = [
    () => noise(1 + below(2_000)),
    () => Buffer.from(`GET / HTTP/1.1\r\nX: ${'x'.repeat(9_000)}\r\n\r\n`),
    () => Buffer.from(upgrade().slice(0, below(upgrade().length))),
    () => Buffer.from(upgrade('/\u0000')),
    () => Buffer.from(upgrade().replace('13', '99')),
    () => Buffer.from(upgrade().replace('dGhl', '****')),
    () => Buffer.from(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n${'x'.repeat(5_000)}`),
    () => Buffer.concat([Buffer.from(upgrade()), noise(limits.helloBytes * 2)]),
    () => Buffer.from('CONNECT localhost:1 HTTP/1.1\r\n\r\n'),
  ]
  const upgraded = random() < 0.6
  return { upgraded, bytes: pick(upgraded ? lines : heads)() }
}

/** Errors are what a hostile line is for. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => (socket.closed ? resolve() : socket.once('close', () => resolve())))
}

/** Opens a line, breaks a rule on it, and leaves: sometimes at once, sometimes when the hub does. */
async function breakRules(): Promise<void> {
  if (random() < 0.15) {
    const tcp = connectTcp(port, '127.0.0.1')
    tcp.on('error', () => undefined).resume()
    // Something like the begin of a TLS handshake, or nothing like it.
    tcp.write(
      random() < 0.5 ? noise(200) : Buffer.concat([Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]), noise(60)]),
    )
    if (random() < 0.5) tcp.destroy()
    else tcp.end()
    await closed(tcp)
    return
  }
  const line: TLSSocket = connectTls({ port, host: 'localhost', servername: 'localhost', ca: hostile.ca })
  line.on('error', () => undefined)
  await once(line, 'secureConnect')
  const { upgraded, bytes } = brokenBytes()
  if (upgraded) {
    line.write(upgrade())
    await once(line, 'data')
  }
  line.resume()
  line.write(bytes)
  if (random() < 0.5) line.end()
  else line.destroy()
  await closed(line)
}

async function neighbour(sub: string): Promise<Hub> {
  return connect(await house.credential(url, sub, ['join:neighbours', 'send:*', 'ask:*', 'get:*']))
}

async function workerOf(hub: Hub): Promise<number> {
  return eventually(async () => {
    const [record] = await hub.list(`service/${hub.subject}/`)
    return (record!.value as { worker: number }).worker
  })
}

async function processes(hub: Hub): Promise<number[]> {
  const answers = await hub.group('hubs').request<{ pid: number }>('hub.status', null)
  return answers.map(({ value }) => value?.pid ?? 0).sort()
}

async function openSessions(): Promise<number> {
  const text = await (await fetch(`${hub.ready.metrics}/metrics`)).text()
  return Number(/^damon_hub_sessions(?:{[^}]*})? (\d+)/m.exec(text)?.[1])
}

test(`thousands of hostile frames and lines harm no worker and no neighbour (seed ${seed})`, {
  timeout: 90_000,
}, async () => {
  const neighbours: Hub[] = []
  const workers = new Set<number>()
  for (let i = 0; neighbours.length < 4; i++) {
    expect(i).toBeLessThan(40)
    const hub = await neighbour(`bot/n${i}`)
    const worker = await workerOf(hub)
    // The last place is for the other worker, if none of its clients has come.
    if (neighbours.length === 3 && workers.size === 1 && workers.has(worker)) await hub.close()
    else neighbours.push(hub)
    workers.add(worker)
  }
  const before = await processes(neighbours[0] as Hub)
  const states: string[] = []
  const heard = neighbours.map((hub) => {
    const numbers: unknown[] = []
    hub.on('state', ({ state, reason }) => states.push(`${hub.subject} ${state} ${reason}`))
    hub.on('gap', () => states.push(`${hub.subject} gap`))
    hub.receive('round', (value) => numbers.push(value))
    hub.handle('double', async (value) => 2 * (value as number))
    return numbers
  })
  await Promise.all(neighbours.map((hub) => hub.join('neighbours')))

  let frames = hostileFrames
  let lines = hostileLines
  let done = false
  const attacks = Promise.all([
    ...Array.from({ length: attackers }, (_, i) => attack(i % 2 ? 'json' : 'binary', () => frames-- > 0)),
    ...Array.from({ length: 3 }, async () => {
      while (lines-- > 0) await breakRules()
    }),
  ]).finally(() => {
    done = true
  })
  let rounds = 0
  for (; !done || rounds < 20; rounds++) {
    const sender = neighbours[rounds % neighbours.length] as Hub
    const [answers] = await Promise.all([
      sender.group('neighbours').request('double', rounds, { deadline: 20_000 }),
      sender.group('neighbours').send('round', rounds),
    ])
    expect(answers.map(({ verdict, value }) => [verdict, value])).toEqual(
      neighbours.map(() => ['answered', 2 * rounds]),
    )
  }
  await attacks

  for (const numbers of heard)
    await eventually(() => expect(numbers).toEqual(Array.from({ length: rounds }, (_, i) => i)))
  expect(states).toEqual([])
  expect(await processes(neighbours[0] as Hub)).toEqual(before)
  expect(hub.output).not.toMatch(/uncaught|a handler failed|died|fenced|fatal/)
  await eventually(async () => expect(await openSessions()).toBe(neighbours.length))
  await Promise.all(neighbours.map((hub) => hub.close()))
})
