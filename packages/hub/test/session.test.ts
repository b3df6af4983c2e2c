import { closes } from '@damon/protocol/closes'
import type { HubFrame } from '@damon/protocol/frames'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { Joined } from '../src/store.ts'
import { type AConnection, type AWorker, aWorker } from './a-worker.ts'
import { batchOf } from './frames.ts'
import { turn } from './manual-bus.ts'

let worker: AWorker

beforeEach(async () => {
  worker = await aWorker()
})

const types = ({ frames }: AConnection) => frames.map(({ type }) => type)
const last = <Type extends HubFrame['type']>({ frames }: AConnection, type: Type) =>
  frames.findLast((frame): frame is Extract<HubFrame, { type: Type }> => frame.type === type)
const send = (number: number, event = 'x', to = 'group/g') =>
  ({ type: 'send', number, again: false, any: false, bytes: false, to, event, payload: new Uint8Array() }) as const

async function connected(groups: string[] = []): Promise<AConnection> {
  const connection = worker.connect()
  connection.hello(groups)
  await turn()
  expect(types(connection)).toEqual(['challenge', 'welcome'])
  return connection
}

/** A message of another worker comes. */
function bring(seq: number, size = 0, channel = 'group/g'): void {
  worker.context.delivery.local(batchOf(3, seq - 1, [seq], { channel, payload: new Uint8Array(size) }))
}

describe('a hello', () => {
  it('puts everything in place before the welcome, and keeps back what comes meanwhile', async () => {
    const opened = Promise.withResolvers<Joined>()
    worker.store.openSession = () => opened.promise
    const connection = worker.connect()
    connection.hello(['g'])
    await turn()
    bring(1)
    connection.session.egress.gap({ origin: 3, to: 'group/g', from: 1, until: 1 })
    bring(2)
    await turn()
    expect(types(connection)).toEqual(['challenge'])
    const heads = [{ origin: 3, to: 'group/g', seq: 1 }]
    opened.resolve({ stamp: 1, heads })
    await turn()
    expect(types(connection)).toEqual(['challenge', 'welcome', 'message'])
    expect(connection.frames.slice(1)).toMatchObject([{ resumed: false, positions: heads }, { seq: 2 }])
    expect(worker.calls).toEqual(['openSession', 'put'])
  })

  it.each([
    ['while its token is verified', 0, []],
    ['while the bus subscribes', 1, []],
    ['while the store opens the session', 2, ['openSession', 'release']],
    ['while its record is written', 3, ['openSession', 'put', 'release']],
  ])('whose client hangs up %s leaves nothing behind', async (_, step, calls) => {
    const steps = Array.from({ length: 4 }, () => Promise.withResolvers<void>())
    const wait = (index: number) => (index === step ? steps[index]?.promise : Promise.resolve())
    const hello = worker.context.identity.hello
    worker.context.identity.hello = async (...args) => {
      await wait(0)
      return hello(...args)
    }
    worker.bus.subscribing = async () => wait(1)
    worker.store.openSession = async () => {
      await wait(2)
      return { stamp: 1, heads: [] }
    }
    worker.store.put = async () => {
      await wait(3)
      return { revision: 1, generation: 1 }
    }
    const connection = worker.connect()
    connection.hello(['g'])
    await turn()
    connection.cut()
    steps[step]?.resolve()
    await turn()
    expect(worker.channels()).toBe(0)
    expect(worker.calls).toEqual(calls)
    // Its owner tells the store of the end of every session that the store may know.
    expect([connection.session.isClosed, connection.session.registered]).toEqual([true, step >= 2])
    expect(types(connection)).toEqual(['challenge'])
  })

  it('that the store does not confirm is refused as unavailable, and ended in the store, which may have done it', async () => {
    worker.store.openSession = () => Promise.reject(new Error('timed out'))
    const connection = worker.connect()
    connection.hello(['g'])
    await turn()
    expect(last(connection, 'error')).toMatchObject({ code: 'unavailable', retry: true })
    expect(connection.closed).toBe(closes.unavailable.code)
    expect(worker.channels()).toBe(0)
    expect([connection.session.isClosed, connection.session.registered]).toEqual([true, true])
  })
})

describe('numbered frames', () => {
  it('that are refused are acknowledged too, after their error', async () => {
    const connection = await connected()
    for (const number of [1, 2, 3]) connection.send(send(number, 'x', 'client/bot/b'))
    await turn()
    const about = connection.frames.slice(2).map((frame) => [frame.type, 'number' in frame ? frame.number : undefined])
    expect(about).toEqual(
      [1, 2, 3].flatMap((number) => [
        ['error', number],
        ['ack', number],
      ]),
    )
  })

  it('are acknowledged only up to the first whose outcome is open', async () => {
    const connection = await connected()
    connection.send(send(1))
    connection.send(send(2, 'x', 'client/bot/b'))
    await turn()
    expect(last(connection, 'error')).toMatchObject({ number: 2, code: 'denied' })
    expect(last(connection, 'ack')).toBeUndefined()
    worker.bus.appends[0]?.confirm()
    await vi.waitFor(() => expect(last(connection, 'ack')).toMatchObject({ number: 2, origin: 7, seq: 1 }))
  })

  it('that do not follow one another end the connection', async () => {
    const connection = await connected()
    connection.send(send(2))
    await turn()
    expect(last(connection, 'error')).toMatchObject({ code: 'bad_field', field: 'number' })
    expect(connection.closed).toBe(closes.bad_frame.code)
  })
})

describe('frames', () => {
  it('take effect one after another, also when so many wait that the socket is not read', async () => {
    const connection = await connected()
    const joined = Promise.withResolvers<Joined>()
    worker.store.join = () => joined.promise
    connection.send({ type: 'join', id: 1, group: 'late' })
    for (let id = 2; id <= 100; id++) connection.send({ type: 'join', id, group: 'late' })
    connection.send({ type: 'ping', t: 1 })
    await turn()
    expect(types(connection).slice(2)).toEqual(['pong'])
    joined.resolve({ stamp: 1, heads: [] })
    await turn()
    connection.send({ type: 'join', id: 101, group: 'late' })
    await turn()
    expect(connection.frames.slice(3).map((frame) => 'id' in frame && frame.id)).toEqual(
      Array.from({ length: 101 }, (_, i) => i + 1),
    )
  })

  it('more than may wait end the connection', async () => {
    const connection = await connected()
    worker.store.join = () => new Promise(() => undefined)
    for (let id = 1; id <= 1_026; id++) connection.send({ type: 'join', id, group: 'late' })
    await turn()
    expect(connection.closed).toBe(closes.overloaded.code)
  })
})

describe('a slow session', () => {
  it('loses messages beyond its bound, is told which, and gets what comes after that', async () => {
    const connection = await connected(['g', 'h'])
    connection.stall()
    for (let seq = 1; seq <= 9; seq++) {
      bring(seq, 1_000)
      await turn()
    }
    bring(10, 1_000, 'group/h')
    const told = () => connection.frames.filter(({ type }) => type === 'gap')
    expect(told()).toEqual([])
    connection.resume()
    await turn()
    const from = connection.frames.filter(({ type }) => type === 'message').length + 1
    expect(from).toBeGreaterThan(1)
    expect(told()).toEqual([
      { type: 'gap', origin: 3, to: 'group/g', from, until: 9 },
      { type: 'gap', origin: 3, to: 'group/h', from: 10, until: 10 },
    ])
    bring(11, 1_000)
    await turn()
    expect(last(connection, 'message')).toMatchObject({ seq: 11 })
    expect(told()).toHaveLength(2)
    expect(connection.closed).toBeUndefined()
  })

  it('that never takes anything is hung up on', async () => {
    const connection = await connected(['g'])
    connection.stall()
    for (let seq = 1; seq <= 9; seq++) bring(seq, 1_000)
    await turn()
    const { heartbeatMs } = worker.context.settings
    const { session } = connection
    const now = performance.now()
    session.check(now + heartbeatMs, 10)
    expect(connection.closed).toBeUndefined()
    session.check(now + heartbeatMs * 1.4, 10)
    expect(connection.closed).toBeUndefined()
    session.check(now + heartbeatMs * 1.6, 10)
    expect(connection.closed).toBe('terminated')
    expect(worker.channels()).toBe(0)
    expect(await worker.registry.getSingleMetricAsString('damon_hub_closed_total')).toContain('slow_consumer')
  })

  it('that causes answers and reads none is hung up on, however small they are', async () => {
    const connection = await connected()
    connection.stall()
    for (let t = 0; t < 1_000 && connection.closed === undefined; t++) connection.send({ type: 'ping', t })
    expect(connection.closed).toBe('terminated')
  })
})

describe('a receiver that takes less than it is sent', () => {
  /** One that reads nothing has more than half of an outbox waiting. */
  async function aSlowOne(): Promise<AConnection> {
    const slow = await connected(['g'])
    slow.stall()
    bring(1, 3_000)
    await turn()
    return slow
  }

  it('keeps who sends to it waiting until it has caught up', async () => {
    const sender = await connected()
    const slow = await aSlowOne()
    sender.send(send(1))
    expect([sender.session.intake.paused, worker.context.restraint.held]).toEqual([true, 1])
    expect(await worker.registry.getSingleMetricAsString('damon_hub_slow_sessions')).toContain(
      'damon_hub_slow_sessions 1',
    )
    slow.resume()
    await turn()
    expect([sender.session.intake.paused, worker.context.restraint.held]).toEqual([false, 0])
    expect(await worker.registry.getSingleMetricAsString('damon_hub_slow_sessions')).toContain(
      'damon_hub_slow_sessions 0',
    )
  })

  it('keeps nobody waiting who sends elsewhere, or when it is gone', async () => {
    const [sender, other] = [await connected(), await connected()]
    const slow = await aSlowOne()
    other.send(send(1, 'x', 'group/h'))
    sender.send(send(1))
    expect([sender, other].map(({ session }) => session.intake.paused)).toEqual([true, false])
    slow.cut()
    expect(sender.session.intake.paused).toBe(false)
    expect(await worker.registry.getSingleMetricAsString('damon_hub_slow_sessions')).toContain(
      'damon_hub_slow_sessions 0',
    )
  })
})

it('a session that is closed leaves nothing of its token behind', async () => {
  const connection = await connected()
  expect(worker.context.rates.size).toBe(1)
  connection.cut()
  expect(worker.context.rates.size).toBe(0)
})

it('a send that the store does not take is refused with the time after which to try again', async () => {
  const connection = await connected()
  connection.send(send(1))
  await turn()
  worker.bus.appends.at(-1)?.fail()
  await turn()
  expect(last(connection, 'error')).toMatchObject({ code: 'unavailable', number: 1, retry: true, retryAfterMs: 1_000 })
})
