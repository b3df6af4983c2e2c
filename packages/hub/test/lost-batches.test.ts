import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { eventually } from '@damon/testkit/eventually'
import { type RedisServer, startRedis } from '@damon/testkit/redis-server'
import { Redis } from 'ioredis'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Closing, channels, openReader, openWriter } from './bus-ends.ts'

const patience = { deadlineMs: 30_000 }

let server: RedisServer
let admin: Redis
let closing: Closing

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

describe('a subscriber', () => {
  it('whose connection is cut again and again while much is appended loses nothing, and repeats nothing', async () => {
    const [to, from] = [await openReader(server.url, closing), await openWriter(server.url, closing)]
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
    const [to, from] = [await openReader(server.url, closing), await openWriter(server.url, closing)]
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
      const [to, from] = [
        await openReader(`redis://127.0.0.1:${line.port}`, closing),
        await openWriter(server.url, closing),
      ]
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
      const [to, from] = [
        await openReader(`redis://127.0.0.1:${line.port}`, closing),
        await openWriter(server.url, closing),
      ]
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
    const [to, from] = [
      await openReader(`redis://127.0.0.1:${deaf.port}`, closing),
      await openWriter(server.url, closing),
    ]
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

describe('while the subscription is slower than the commands', () => {
  const session = '00000000000000ff'
  const entry = { session, subject: 'bot/a', channels, ticket: 'digest' }

  it.each(['a take-over', 'the heads of channels'])(
    '%s is not known before all that it names has arrived',
    async (what) => {
      const line = await startLine(server.port)
      closing.push(() => line.close())
      const [to, from] = [
        await openReader(`redis://127.0.0.1:${line.port}`, closing),
        await openWriter(server.url, closing),
      ]
      await from.store.openSession(entry)
      await from.store.release(session, 0)
      line.stall('subscriber')
      await from.write(6)
      const asked = what === 'a take-over' ? to.store.takeOver(entry) : to.bus.heads(channels)
      const answered = asked.then(() => structuredClone(to.got))
      // The answer itself is quick: other commands that were sent after it are through.
      for (let i = 0; i < 3; i++) await to.store.absent([session])
      expect(to.got).not.toEqual(from.sent)
      line.resume()
      expect(await answered).toEqual(from.sent)
    },
  )
})

it('what a worker told of its tails makes others read what they have lost', async () => {
  const deaf = await startLine(server.port, '{test:}b:group/b')
  closing.push(() => deaf.close())
  const [to, from] = [
    await openReader(`redis://127.0.0.1:${deaf.port}`, closing),
    await openWriter(server.url, closing),
  ]
  await from.write(3)
  await from.store.renew()
  await eventually(() => expect(to.got).toEqual(from.sent), patience)
  expect(await to.holes('repaired')).toBe(1)
})

/** A line to Redis. */
interface Line {
  port: number
  /** Nothing is taken from Redis any more. */
  stall(only?: 'subscriber'): void
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
  const subscribers = new Set<Socket>()
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
    near.on('data', (chunk) => {
      if (chunk.includes('subscribe')) subscribers.add(far)
    })
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
    stall: (only) => {
      for (const far of only ? subscribers : open) far.pause()
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
