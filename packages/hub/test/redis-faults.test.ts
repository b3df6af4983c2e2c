import { eventually } from '@damon/testkit/eventually'
import { type RedisServer, startRedis } from '@damon/testkit/redis-server'
import { startProxy } from '@damon/testkit/stalling-proxy'
import { Redis } from 'ioredis'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openRedis, type RedisBackbone } from '../src/bus-redis.ts'
import type { StoreEvents } from '../src/store.ts'
import { batchOf } from './frames.ts'

const prefix = '{test:}'
let server: RedisServer
let admin: Redis
let workers: RedisBackbone[]

beforeEach(async () => {
  server = await startRedis()
  admin = new Redis(server.url)
  admin.on('error', () => undefined)
  workers = []
})
afterEach(async () => {
  for (const worker of workers) await worker[Symbol.asyncDispose]()
  admin.disconnect()
  await server[Symbol.asyncDispose]()
})

/** A worker, what it was told by its store, and which messages reached it. */
async function worker(url = server.url) {
  const told: string[] = []
  const arrived: string[] = []
  const events: StoreEvents = {
    change: () => void told.push('change'),
    gone: (sessions) => void told.push(`gone ${sessions.join()}`),
    tails: () => undefined,
    over: () => undefined,
    release: () => undefined,
    ended: (origin) => void told.push(`ended ${origin}`),
    connected: (ok) => void told.push(ok ? 'connected' : 'cut'),
    interrupted: () => undefined,
    garbled: () => void told.push('garbled'),
    cutOff: () => void told.push('cut off'),
  }
  const options = { url, prefix, times: { graceMs: 1_000, awayMs: 300, resumeMs: 1_000 } }
  const opened = await openRedis(options, ({ origin, last }) => void arrived.push(`${origin}/${last}`), events)
  workers.push(opened)
  return { ...opened, told, arrived }
}

describe('what comes from Redis and cannot be read', () => {
  it('is told, and the rest goes on', async () => {
    const one = await worker()
    await one.bus.subscribe('group/g')
    for (const channel of ['change', 'b:group/g'])
      for (const garbage of ['', 'x', '{"change":', '{"change":"put","key":"a"}\n\u0009', 'y'.repeat(200)])
        await admin.publish(prefix + channel, garbage)
    await eventually(() => expect(one.told.filter((what) => what === 'garbled')).toHaveLength(10))
    await one.bus.append([batchOf(one.bus.origin, 0, [1])], [])
    await eventually(() => expect(one.arrived).toEqual([`${one.bus.origin}/1`]))
  })
})

describe('a sweep', () => {
  const expire = (origin: number) => admin.zadd(`${prefix}origins`, Date.now() - 60_000, origin)

  it('ends who did not renew, and everybody is told', async () => {
    const [one, two] = [await worker(), await worker()]
    await one.store.openSession({ session: 'a', subject: 'bot/a', channels: ['all'] })
    await expire(one.bus.origin)
    await two.store.sweep()
    expect([await one.store.renew(), await two.store.renew()]).toEqual([false, true])
    await eventually(() => expect(two.told).toEqual(expect.arrayContaining(['gone a', `ended ${one.bus.origin}`])))
  })

  it('that comes late blames no one, and lengthens no lease beyond a whole one', async () => {
    const one = await worker()
    await expire(one.bus.origin)
    await admin.set(`${prefix}swept`, Date.now() - 3_600_000)
    await one.store.sweep()
    await one.store.sweep()
    expect(await one.store.renew()).toBe(true)
    const ends = Number(await admin.zscore(`${prefix}origins`, one.bus.origin))
    expect(ends - Date.now()).toBeLessThanOrEqual(5_000)
  })
})

describe('a Redis that was emptied', () => {
  it('fences who was there before, and gives no number again', async () => {
    const before = [await worker(), await worker()]
    await admin.flushall()
    for (const { bus, store } of before) {
      expect(await store.renew()).toBe(false)
      await expect(bus.append([batchOf(bus.origin, 0, [1])], [])).rejects.toMatchObject({ code: 'fenced' })
    }
    const after = await worker()
    expect(before.map(({ bus }) => bus.origin)).not.toContain(after.bus.origin)
    expect(before.map(({ store }) => store.epoch)).not.toContain(after.store.epoch)
  })

  it('of its scripts only costs nothing', async () => {
    const one = await worker()
    await one.bus.subscribe('group/g')
    for (let seq = 1; seq <= 4; seq++) {
      await admin.script('FLUSH')
      await one.bus.append([batchOf(one.bus.origin, seq - 1, [seq])], [])
    }
    await eventually(() => expect(one.arrived).toHaveLength(4))
  })
})

describe('a subscriber that was cut off', () => {
  it('has all its channels again before it counts as connected', async () => {
    const [one, two] = [await worker(), await worker()]
    const channels = Array.from({ length: 700 }, (_, i) => `group/g${i}`)
    await Promise.all(channels.map((channel) => one.bus.subscribe(channel)))
    one.bus.unsubscribe('group/g1')
    expect(await one.store.renew()).toBe(true)
    one.told.length = 0
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await eventually(() => expect(one.told).toEqual(expect.arrayContaining(['cut', 'connected'])))
    expect(one.told.at(-1)).toBe('connected')
    expect(await one.store.renew()).toBe(true)
    const batches = ['group/g0', 'group/g1', 'group/g699'].map((channel, i) =>
      batchOf(two.bus.origin, 0, [i + 1], { channel }),
    )
    await two.bus.append(batches, [])
    await eventually(() => expect(one.arrived).toEqual([`${two.bus.origin}/1`, `${two.bus.origin}/3`]))
  })

  it('subscribes nothing and renews nothing meanwhile', async () => {
    const one = await worker()
    await server.kill()
    await eventually(() => expect(one.told.at(-1)).toBe('cut'))
    await expect(one.bus.subscribe('group/g')).rejects.toThrow()
    await expect(one.store.renew()).rejects.toThrow()
    await expect(one.bus.append([], [])).rejects.toMatchObject({ code: 'unavailable' })
  })
})

it('a worker that finds no Redis leaves no connection behind that would come alive later', async () => {
  await server.kill()
  await expect(worker()).rejects.toThrow()
  await server.restart()
  const one = await worker()
  expect(await one.store.renew()).toBe(true)
  await eventually(async () => {
    const clients = String(await admin.client('LIST'))
    expect(clients.match(/name=damon-hub-subscriber/g)).toHaveLength(1)
    expect(clients.match(/name=damon-hub(?!-)/g)).toHaveLength(1)
  })
})

describe('an append', () => {
  const lastOf = async (origin: number, redis = admin) => {
    const entries = await redis.xrange(`${prefix}log:${origin}`, '-', '+')
    return entries.map(([id]) => Number.parseInt(id, 10))
  }

  it('is in the log once, whatever becomes of the connection meanwhile', async () => {
    const one = await worker()
    const count = 300
    for (let seq = 1; seq <= count; seq++) {
      const appending = one.bus.append([batchOf(one.bus.origin, seq - 1, [seq])], [])
      if (seq % 20 === 0) await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
      await appending
    }
    expect(await lastOf(one.bus.origin)).toEqual(Array.from({ length: count }, (_, i) => i + 1))
  })

  it('bridges a restart of a second, and is refused at once while Redis is away for longer', async () => {
    const persistent = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
    try {
      const one = await worker(persistent.url)
      let last = 0
      const append = (count = ++last) => one.bus.append([batchOf(one.bus.origin, count - 1, [count])], [])
      await append()
      for (let isBridged = false; !isBridged; ) {
        await persistent.kill()
        const killed = performance.now()
        const outcome = append().then(
          () => 'appended',
          (error) => error.code,
        )
        await persistent.restart()
        // Where Redis itself takes long to start, nothing is shown: once more.
        isBridged = performance.now() - killed < 400
        if (isBridged) expect(await outcome).toBe('appended')
        else expect(['appended', 'unavailable']).toContain(await outcome)
        await eventually(() => expect(one.told.at(-1)).toBe('connected'))
      }
      await persistent.kill()
      const began = performance.now()
      const refused = (count = last + 1) => expect(append(count)).rejects.toMatchObject({ code: 'unavailable' })
      await refused()
      const bridged = performance.now() - began
      for (let i = 0; i < 50; i++) await refused()
      // Fifty that waited as the first one did would take fifty times as long.
      expect(performance.now() - began).toBeLessThan(10 * bridged)
      await persistent.restart()
      await eventually(() => expect(one.told.at(-1)).toBe('connected'))
      await append(last + 2)
    } finally {
      for (const worker of workers.splice(0)) await worker[Symbol.asyncDispose]()
      await persistent[Symbol.asyncDispose]()
    }
  })

  it('that was confirmed and then lost by a failover is appended again, in order, before all that follows', async () => {
    await admin.config('SET', 'repl-diskless-sync-delay', 0)
    const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(server.port)] })
    const line = await startProxy({ host: '127.0.0.1', port: server.port })
    const other = new Redis(replica.url)
    try {
      const [one, two] = [
        await worker(`redis://127.0.0.1:${line.port}`),
        await worker(`redis://127.0.0.1:${line.port}`),
      ]
      await two.bus.subscribe('group/g')
      for (let seq = 1; seq <= 3; seq++) await one.bus.append([batchOf(one.bus.origin, seq - 1, [seq])], [])
      await eventually(async () => expect(await lastOf(one.bus.origin, other)).toEqual([1, 2, 3]))
      // From here on the replica learns nothing: these are lost with the primary.
      await other.replicaof('NO', 'ONE')
      for (let seq = 4; seq <= 6; seq++) await one.bus.append([batchOf(one.bus.origin, seq - 1, [seq])], [])
      expect(await lastOf(one.bus.origin, other)).toEqual([1, 2, 3])
      line.retarget({ host: '127.0.0.1', port: replica.port })
      line.cut()
      await one.bus.append([batchOf(one.bus.origin, 6, [7])], [])
      expect(await lastOf(one.bus.origin, other)).toEqual([1, 2, 3, 4, 5, 6, 7])
      const range = { origin: one.bus.origin, to: 'group/g', from: 1, until: 7 }
      await eventually(async () => {
        const { batches, missing } = await two.bus.read([range], 1_000_000)
        expect([batches.map(({ batch }) => batch.last), missing]).toEqual([[1, 2, 3, 4, 5, 6, 7], []])
      })
    } finally {
      other.disconnect()
      for (const worker of workers.splice(0)) await worker[Symbol.asyncDispose]()
      await line[Symbol.asyncDispose]()
      await replica[Symbol.asyncDispose]()
    }
  })
})

describe('kept records in a Redis that was emptied', () => {
  const record = (key: string, value: string, revision: number) => ({
    key,
    value,
    revision,
    generation: 1,
    leased: false,
    state: 'live' as const,
  })

  it('are written back by those who have them, but for those written since', async () => {
    const [one, two] = [await worker(), await worker()]
    expect(await one.store.restore([record('kept/a', 'a', 3)], 5)).toBe(0)
    await admin.flushall()
    await expect(one.store.snapshot()).rejects.toThrow('emptied')
    const next = await worker()
    await next.store.put({ owner: '', subject: 'bot/a', key: 'kept/b', value: 'new', leased: false })
    const [written] = (await next.store.snapshot()).records
    const known = [record('kept/a', 'a', 3), record('kept/b', 'old', 4)]
    expect(await one.store.restore(known, 5)).toBe(1)
    expect(await two.store.restore(known, 5)).toBe(0)
    const { records, revision } = await next.store.snapshot()
    expect(records.map(({ key, value }) => [key, value]).sort()).toEqual([
      ['kept/a', 'a'],
      ['kept/b', 'new'],
    ])
    expect(records.find(({ key }) => key === 'kept/b')).toEqual(written)
    expect(revision).toBe(5)
  })
})
