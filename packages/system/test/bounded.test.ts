import { closes } from '@damon/protocol/closes'
import type { ClientFrame, HubFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { eventually } from '@damon/testkit/eventually'
import type { RunningService } from '@damon/testkit/process'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { buildHouse, type House, type Unusual } from '../src/house.ts'
import { openRaw, type RawClient } from '../src/raw-client.ts'

const rights = ['join:*', 'send:group/*', 'ask:group/*', 'get:*']
/** More than the kernels on both sides and an outbox take, in messages of this size. */
const size = 16 * 1024
const many = 2_500
const patience = { deadlineMs: 60_000 }

let house: House
let hub: RunningService
let count = 0
const clients: RawClient[] = []

beforeAll(async () => {
  house = await buildHouse()
  hub = await house.startHub({
    HUB_WORKERS: '1',
    HUB_RATES: JSON.stringify({ patient: { framesPerSecond: 100, bytesPerSecond: 1024 } }),
  })
})
afterEach(() => {
  for (const client of clients.splice(0)) client[Symbol.dispose]()
})
afterAll(async () => {
  await hub?.[Symbol.asyncDispose]()
  await house?.[Symbol.asyncDispose]()
})

async function session(groups: string[] = [], unusual: Unusual = {}): Promise<RawClient> {
  const url = hub.ready.url ?? ''
  const credential = await house.credential(url, `bot/b${++count}`, rights, unusual)
  const client = await openRaw(url, { ca: credential.ca })
  clients.push(client)
  await client.hello(credential, { groups })
  return client
}

const sendFrame = (number: number, to: string, bytes: number): ClientFrame & { number: number } => ({
  type: 'send',
  number,
  again: false,
  any: false,
  bytes: true,
  to,
  event: 'x',
  payload: new Uint8Array(bytes),
})
const numbersOf = ({ frames }: RawClient) =>
  frames
    .filter((frame): frame is Extract<HubFrame, { type: 'message' }> => frame.type === 'message')
    .map((m) => m.number)
const upTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1)
const has = ({ frames }: RawClient, type: HubFrame['type']) => frames.some((frame) => frame.type === type)

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${hub.ready.metrics}/metrics`)).text()
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text)?.[1])
}

describe('a receiver', { timeout: 180_000 }, () => {
  it('that reads slowly slows its sender, and loses nothing', async () => {
    const [sender, slow] = [await session(), await session(['slow'])]
    const before = await metric('damon_hub_slow_sessions_total')
    // Far slower than a busy machine sends, until the hub has noticed.
    let noticed = false
    let unread = 0
    slow.ws.on('message', () => {
      if (noticed || ++unread < 32) return
      unread = 0
      slow.ws.pause()
      setTimeout(() => slow.ws.resume(), 200)
    })
    for (const number of upTo(many)) sender.send(sendFrame(number, 'group/slow', size))
    await eventually(
      async () => expect(await metric('damon_hub_slow_sessions_total')).toBeGreaterThan(before),
      patience,
    )
    noticed = true
    await eventually(async () => expect(numbersOf(slow).length).toBe(many), patience)
    expect(numbersOf(slow)).toEqual(upTo(many))
    expect(has(slow, 'gap')).toBe(false)
  })

  it('that reads nothing delays the others a moment only, and is told what it missed', async () => {
    const [sender, stuck, ...others] = [
      await session(),
      ...(await Promise.all([1, 2, 3].map(() => session(['stuck'])))),
    ]
    stuck!.ws.pause()
    for (const number of upTo(many)) sender.send(sendFrame(number, 'group/stuck', size))
    await eventually(async () => {
      for (const other of others) expect(numbersOf(other).length).toBe(many)
    }, patience)
    for (const other of others) expect(numbersOf(other)).toEqual(upTo(many))
    expect(hub.output).toContain('a session takes less than it is sent')
    expect(await metric('damon_hub_slow_sessions')).toBe(1)
    stuck!.ws.resume()
    const gap = await stuck!.next('gap')
    expect(gap).toMatchObject({ to: 'group/stuck' })
    sender.send(sendFrame(many + 1, 'group/stuck', 1))
    await eventually(async () => expect(numbersOf(stuck!).at(-1)).toBe(many + 1), patience)
    expect(numbersOf(stuck!)).toEqual(numbersOf(stuck!).toSorted((a, b) => a - b))
    await eventually(async () => expect(await metric('damon_hub_slow_sessions')).toBe(0), patience)
  })
})

describe('a token', () => {
  it('that has sent more than its rate is not read for a while, and its neighbours are', async () => {
    const [hasty, neighbour] = [await session([], { rate: 'patient' }), await session()]
    expect(await hasty.ask(sendFrame(1, 'group/nobody', 100 * 1024))).toMatchObject({ type: 'ack' })
    hasty.send({ type: 'ping', t: 1 })
    for (const number of upTo(100)) await neighbour.ask(sendFrame(number, 'group/nobody', 1))
    expect(has(hasty, 'pong')).toBe(false)
    const told = await hasty.next('error')
    expect(told).toMatchObject({ code: 'rate_limited', retry: true, retryAfterMs: expect.any(Number) })
    expect(has(hasty, 'pong')).toBe(false)
  })
})

describe('a worker', () => {
  it('without memory for more takes no new session, and says when to come again', async () => {
    await using full = await house.startHub({ HUB_WORKERS: '1', HUB_WORKER_MEMORY: String(16 * 1024 * 1024) })
    for (const codec of ['binary', 'json'] as const) {
      using client = await openRaw(full.ready.url ?? '', { ca: house.tls.ca, codec })
      expect(await client.next('error')).toMatchObject({
        code: 'overloaded',
        retry: true,
        retryAfterMs: limits.retryAfterMs,
      })
      expect(await client.closed).toEqual({ code: closes.overloaded.code, reason: 'overloaded' })
    }
    const metrics = await (await fetch(`${full.ready.metrics}/metrics`)).text()
    expect(metrics).toMatch(/damon_hub_turned_away_total\{.*reason="memory".*\} 2/)
    expect(metrics).toMatch(/^damon_hub_memory_tight(\{.*\})? 1$/m)
    expect(metrics).toMatch(/^damon_hub_event_loop_lag_seconds\{.*worker="w\d+".*quantile="0.99".*\}/m)
  })
})
