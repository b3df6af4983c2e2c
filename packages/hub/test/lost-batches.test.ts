import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { eventually } from '@damon/testkit/eventually'
import { type RedisServer, startRedis } from '@damon/testkit/redis-server'
import { Redis } from 'ioredis'
import { Registry } from 'prom-client'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openRedis, type RedisBackbone } from '../src/bus-redis.ts'
import { Delivery } from '../src/delivery.ts'
import { createMetrics } from '../src/metrics.ts'
import type { StoreEvents } from '../src/store.ts'
import { batchOf, position, unwire } from './frames.ts'

const patience = { deadlineMs: 30_000 }
const times = { graceMs: 5_000, awayMs: 2_000, resumeMs: 60_000 }
const channels = ['group/a', 'group/b', 'group/c']

let server: RedisServer
let admin: Redis
let closing: (() => unknown)[]

beforeEach(async () => {
  server = await startRedis()
  admin = new Redis(server.url)
  closing = []
})
afterEach(async () => {
  for (const close of closing.reverse()) await close()
  admin.disconnect()
  await server[Symbol.asyncDispose]()
})

interface Reader extends RedisBackbone {
  told: string[]
  /** Per channel, what its one member got. */
  got: Map<string, string[]>
  holes(result: string): Promise<number>
}

/** A worker with a member in every channel. */
async function reader(url: string): Promise<Reader> {
  const told: string[] = []
  const got = new Map<string, string[]>(channels.map((channel) => [channel, []]))
  const registry = new Registry()
  let delivery: Delivery | undefined
  const events: StoreEvents = {
    change: () => undefined,
    gone: () => undefined,
    over: () => undefined,
    release: () => undefined,
    tails: (tails) => delivery?.behind(tails),
    ended: (origin) => void delivery?.ended(origin),
    connected: (ok) => {
      told.push(ok ? 'connected' : 'cut')
      if (ok) delivery?.audit()
    },
    garbled: () => void told.push('garbled'),
    cutOff: () => undefined,
  }
  const backbone = await openRedis(
    { url, prefix: 'test:', times },
    (batch, stamp) => delivery?.arrive(batch, stamp),
    events,
  )
  const faults = { hole: () => undefined, gap: () => undefined, garbled: () => void told.push('garbled') }
  delivery = new Delivery({ bus: backbone.bus, metrics: createMetrics(registry), faults })
  const { store } = backbone
  for (const channel of channels) {
    const list = got.get(channel) ?? []
    const member = {
      deliver: (run: { binary: Buffer }) => void list.push(...unwire(run.binary).map(position)),
      ask: () => undefined,
      answer: () => undefined,
      gap: ({ from, until }: { from: number; until: number }) => void list.push(`gap ${from}-${until}`),
    }
    await delivery.add(channel, member)
    const joined = await store.openSession({ session: channel, subject: 'bot/a', channels: [channel] })
    delivery.confirm(channel, member, joined)
  }
  closing.push(
    () => delivery.stop(),
    () => backbone[Symbol.asyncDispose](),
  )
  const holes = async (result: string) => {
    const text = await registry.getSingleMetricAsString('damon_hub_holes_total')
    return Number(new RegExp(`result="${result}"} (\\d+)`).exec(text)?.[1] ?? 0)
  }
  return { ...backbone, told, got, holes }
}

/** A worker that appends numbers on all channels in turn; what each channel must have got is in `sent`. */
async function writer() {
  const nothing = () => undefined
  const events = { change: nothing, gone: nothing, over: nothing, release: nothing, tails: nothing, ended: nothing }
  const more = { connected: nothing, garbled: nothing, cutOff: nothing }
  const backbone = await openRedis({ url: server.url, prefix: 'test:', times }, nothing, { ...events, ...more })
  closing.push(() => backbone[Symbol.asyncDispose]())
  const sent = new Map<string, string[]>(channels.map((channel) => [channel, []]))
  const last = new Map<string, number>()
  let seq = 0
  const { bus, store } = backbone
  return {
    origin: bus.origin,
    store,
    sent,
    async write(count: number, bytes = 10, to = channels) {
      const payload = new Uint8Array(bytes)
      for (let i = 0; i < count; i++) {
        const channel = to[i % to.length] ?? ''
        const batch = batchOf(bus.origin, last.get(channel) ?? 0, [++seq], { channel, payload })
        last.set(channel, seq)
        await bus.append([batch], [])
        sent.get(channel)?.push(`${bus.origin}/${seq}`)
      }
    },
  }
}

describe('a subscriber', () => {
  it('whose connection is cut again and again while much is appended loses nothing, and repeats nothing', async () => {
    const [to, from] = [await reader(server.url), await writer()]
    for (let round = 0; round < 5; round++) {
      const writing = from.write(200)
      await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
      await writing
      await eventually(() => expect(to.told.at(-1)).toBe('connected'), patience)
    }
    await eventually(() => expect(to.got).toEqual(from.sent), patience)
    expect(await to.holes('found')).toBeGreaterThan(0)
    expect(await to.holes('repaired')).toBe(await to.holes('found'))
  })

  it('finds the last that it lost, though nothing follows it', async () => {
    const [to, from] = [await reader(server.url), await writer()]
    await from.write(9)
    await eventually(() => expect(to.got).toEqual(from.sent), patience)
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await from.write(3)
    await eventually(() => expect(to.got).toEqual(from.sent), patience)
  })

  describe('behind a line that stalls', () => {
    let line: Line
    beforeEach(async () => {
      line = await startLine(server.port)
      closing.push(() => line.close())
    })
    const subscribers = async () => String(await admin.call('CLIENT', 'LIST', 'TYPE', 'pubsub')).split('\n').length - 1

    it('whose buffer overruns in Redis gets everything from the log', async () => {
      await admin.config('SET', 'client-output-buffer-limit', 'pubsub 1mb 1mb 1')
      const [to, from] = [await reader(`redis://127.0.0.1:${line.port}`), await writer()]
      await from.write(3)
      line.stall()
      // More than what the kernel's buffers hold, too.
      await from.write(600, 64 * 1024)
      expect(await subscribers()).toBe(1)
      line.resume()
      await eventually(() => expect(to.got).toEqual(from.sent), patience)
      expect(await to.holes('unrepaired')).toBe(0)
    })

    it('so long that the log has been cut is told what is missing, and gets the rest', async () => {
      await admin.config('SET', 'client-output-buffer-limit', 'pubsub 1mb 1mb 1')
      const [to, from] = [await reader(`redis://127.0.0.1:${line.port}`), await writer()]
      await from.write(3)
      line.stall()
      await from.write(400, 240 * 1024, ['group/a'])
      line.resume()
      const sent = from.sent.get('group/a') ?? []
      await eventually(() => expect(to.got.get('group/a')?.at(-1)).toBe(sent.at(-1)), patience)
      const got = to.got.get('group/a') ?? []
      const gaps = got.filter((one) => one.startsWith('gap')).map((gap) => gap.slice(4).split('-').map(Number))
      expect(gaps).toHaveLength(1)
      const told = (one: string) =>
        gaps.some(([a = 0, b = 0]) => Number(one.split('/')[1]) >= a && Number(one.split('/')[1]) <= b)
      expect(sent.filter((one) => !got.includes(one) && !told(one))).toEqual([])
      expect(got.filter((one) => !one.startsWith('gap') && told(one))).toEqual([])
      expect(new Set(got).size).toBe(got.length)
      expect(await to.holes('unrepaired')).toBe(1)
    })
  })

  it('that nothing reaches any more, though its line answers, notices by its own word and connects anew', async () => {
    const deaf = await startLine(server.port, '{test:}tails')
    closing.push(() => deaf.close())
    const [to, from] = [await reader(`redis://127.0.0.1:${deaf.port}`), await writer()]
    to.told.length = 0
    await eventually(async () => {
      await from.write(1)
      expect(await to.store.renew().catch(() => true)).toBe(true)
      expect(to.told).toContain('cut')
    }, patience)
    deaf.heal()
    await eventually(() => expect(to.told.at(-1)).toBe('connected'), patience)
    await eventually(() => expect(to.got).toEqual(from.sent), patience)
  })
})

it('what a worker told of its tails makes others read what they have lost', async () => {
  const deaf = await startLine(server.port, '{test:}b:group/b')
  closing.push(() => deaf.close())
  const [to, from] = [await reader(`redis://127.0.0.1:${deaf.port}`), await writer()]
  await from.write(3)
  await from.store.renew()
  await eventually(() => expect(to.got).toEqual(from.sent), patience)
  expect(await to.holes('repaired')).toBe(1)
})

/** A line to Redis. */
interface Line {
  port: number
  /** Nothing is taken from Redis any more. */
  stall(): void
  resume(): void
  /** From now on nothing vanishes. */
  heal(): void
  close(): void
}

/** Opens a line on which the messages of one pub/sub channel vanish. */
async function startLine(port: number, deafFor?: string): Promise<Line> {
  let deaf = deafFor !== undefined
  const name = deafFor?.replace(/[{}]/g, '\\$&')
  const push = new RegExp(`[>*]3\\r\\n\\$7\\r\\nmessage\\r\\n\\$\\d+\\r\\n${name}\\r\\n\\$(\\d+)\\r\\n`)
  const open = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect({ host: '127.0.0.1', port })
    open.add(far)
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', () => undefined)
      from.on('close', () => {
        to.destroy()
        open.delete(far)
      })
    }
    near.pipe(far)
    far.on('data', (chunk) => {
      let text = chunk.toString('latin1')
      for (let found = push.exec(text); deaf && found; found = push.exec(text))
        text = text.slice(0, found.index) + text.slice(found.index + found[0].length + Number(found[1]) + 2)
      near.write(text, 'latin1')
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    stall: () => {
      for (const far of open) far.pause()
    },
    resume: () => {
      for (const far of open) far.resume()
    },
    heal: () => {
      deaf = false
    },
    close: () => server.close(),
  }
}
