import { limits } from '@damon/protocol/limits'
import { Registry } from 'prom-client'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { BatchKind } from '../src/bus.ts'
import { EncodedFrame } from '../src/message.ts'
import { createMetrics } from '../src/metrics.ts'
import { Publisher, type Sender, SendOrder } from '../src/publisher.ts'
import { Tick } from '../src/tick.ts'
import { messageFrame, position, unwire } from './frames.ts'
import { type ManualBus, manualBus, turn } from './manual-bus.ts'

let bus: ManualBus
let told: string[]
/** Who waits for the bus. */
let braked: string[]
let local: string[]
let fenced: number
/** Channels with members here that wait for something from the bus. */
let unclear: Set<string>
let publisher: Publisher
let orders: Map<string, SendOrder>

const sender = (name: string): Sender => ({
  acknowledge: (number, origin, seq, patient) =>
    void told.push(`${name} ${patient ? 'patient ' : ''}ack ${number} at ${origin}/${seq}`),
  refuse: (number, error) => void told.push(`${name} refused ${number} ${(error as { code: string }).code}`),
  brake: () => void braked.push(name),
  release: () => void braked.splice(braked.indexOf(name), 1),
})
const a = sender('a')

const asked = (channel: string) => ({ session: '00000000000000aa', number: 1, channel, deadlineMs: 1_000, quorum: 0 })

beforeEach(() => {
  bus = manualBus(7)
  told = []
  braked = []
  local = []
  fenced = 0
  unclear = new Set()
  orders = new Map()
  publisher = new Publisher({
    bus,
    members: {
      isClear: (channel) => !unclear.has(channel),
      has: (channel) => channel !== 'session/elsewhere',
      local: ({ channel, kind, bytes }) => void local.push([channel, kind, ...unwire(bytes).map(position)].join(' ')),
      expect: (channel, seq) => void local.push(`${channel} expects ${seq}`),
      unconfirmed: ({ channel, last }) => local.push(`${channel} lost ${last}`) > 0,
    },
    tick: new Tick(),
    metrics: createMetrics(new Registry()),
    fenced: () => fenced++,
  })
})

function publish(
  channel: string,
  more: {
    size?: number
    kind?: BatchKind
    around?: boolean
    sender?: string
    receipt?: { to: Sender; number: number }
  } = {},
): Buffer {
  const { size = 0, kind = 'message', around = kind === 'request', sender = 's', receipt } = more
  const frame = new EncodedFrame(messageFrame({ payload: new Uint8Array(size) }))
  const order = orders.get(sender) ?? new SendOrder()
  orders.set(sender, order)
  publisher.publish({
    channel,
    kind,
    ...(around && { around }),
    frame,
    order,
    sender: receipt?.to,
    number: receipt?.number ?? 0,
  })
  return frame.bytes
}
const appended = (index: number) =>
  bus.appends[index]?.batches.map(({ channel, prev, bytes }) => [channel, prev, ...unwire(bytes).map(position)])
async function confirmAll(): Promise<void> {
  for (let i = 0; i < bus.appends.length; i++) {
    bus.appends[i]?.confirm()
    await turn()
  }
}

describe('positions', () => {
  it('rise by one with each frame and name its origin', () => {
    const frames = ['group/a', 'group/b', 'group/a'].flatMap((channel) => unwire(publish(channel)))
    expect(frames.map(position)).toEqual(['7/1', '7/2', '7/3'])
  })

  it('have their predecessor on the channel, over ticks and channels', async () => {
    for (const sender of ['x', 'y']) publish('group/a', { sender })
    publish('group/b', { sender: 'z' })
    await turn()
    bus.appends[0]?.confirm()
    publish('group/a')
    await turn()
    expect(appended(0)).toEqual([
      ['group/a', 0, '7/1', '7/2'],
      ['group/b', 0, '7/3'],
    ])
    expect(appended(1)).toEqual([['group/a', 2, '7/4']])
  })

  it('on a channel that was forgotten follow the highest number of all that were, and the bus forgets them too', async () => {
    const heads = new Map<string, number>()
    const forgotten: string[] = []
    bus.forget = (channels) => void forgotten.push(...channels)
    bus.append = async (batches) => {
      for (const { channel, prev } of batches) heads.set(channel, prev)
      return []
    }
    const dispatch = async (from: number, until: number) => {
      for (let i = from; i <= until; i++) {
        publish(`group/g${i}`, { sender: `s${i}` })
        if (i % 1_000 === 0) await turn()
      }
      await turn()
    }
    await dispatch(1, 65_536)
    expect([...heads.values()].every((prev) => prev === 0)).toBe(true)
    await dispatch(65_537, 66_100)
    expect(forgotten.length).toBeGreaterThanOrEqual(512)
    publish('group/g1', { sender: 's1' })
    await turn()
    expect(forgotten).toContain('group/g1')
    expect(heads.get('group/g1')).toBeGreaterThanOrEqual(512)
  })
})

describe('an append', () => {
  it('is one for a tick, however much was dispatched in it', async () => {
    for (let i = 0; i < 100; i++) publish(`group/g${i % 10}`, { sender: `s${i}` })
    await turn()
    expect(bus.appends).toHaveLength(1)
    expect(appended(0)).toHaveLength(10)
  })

  it('is under way alone: what comes meanwhile goes with the next', async () => {
    publish('group/a')
    await turn()
    for (let i = 0; i < 5; i++) {
      publish('group/a')
      await turn()
    }
    expect(bus.appends).toHaveLength(1)
    bus.appends[0]?.confirm()
    await turn()
    expect(appended(1)).toEqual([['group/a', 1, '7/2', '7/3', '7/4', '7/5', '7/6']])
  })

  it("never lets a frame overtake its sender's earlier frame on another channel", async () => {
    publish('group/a', { sender: 'x' })
    publish('group/b', { sender: 'y' })
    publish('group/a', { sender: 'y' })
    publish('group/b', { sender: 'x' })
    await turn()
    expect(appended(0)).toEqual([
      ['group/a', 0, '7/1'],
      ['group/b', 0, '7/2', '7/4'],
      ['group/a', 1, '7/3'],
    ])
    expect(local).toEqual(['group/a message 7/1', 'group/b message 7/2 7/4', 'group/a message 7/3'])
  })

  it('holds one kind in each batch', async () => {
    publish('group/a')
    publish('group/a', { kind: 'request' })
    publish('group/a')
    await turn()
    expect(bus.appends[0]?.batches.map(({ kind, fast, prev, first }) => [kind, fast, prev, first])).toEqual([
      ['message', true, 0, 1],
      ['request', false, 1, 2],
      ['message', true, 2, 3],
    ])
  })

  it('that grows beyond what a script takes is cut, in order', async () => {
    for (let i = 0; i < 2_500; i++) publish(`group/g${i}`)
    await turn()
    await confirmAll()
    expect(bus.appends.map(({ batches }) => batches.length)).toEqual([1_000, 1_000, 500])
  })

  it('waits a moment when only the log waits for it', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    try {
      publish('session/here', { kind: 'answer' })
      publish('session/here', { kind: 'answer' })
      await turn()
      expect([local, bus.appends.length]).toEqual([['session/here answer 7/1 7/2'], 0])
      vi.advanceTimersByTime(2)
      await turn()
      expect(appended(0)).toEqual([['session/here', 0, '7/1', '7/2']])
    } finally {
      vi.useRealTimers()
    }
  })

  it.each<[string, () => void]>([
    ['an answer that is for another worker', () => publish('session/elsewhere', { kind: 'answer' })],
    ['a message', () => publish('group/a', { sender: 'b' })],
    ['somebody who waits for all so far', () => void publisher.confirmed()],
    ['a freeze', () => void publisher.freeze(asked('group/a'))],
  ])('does not wait with %s in it', async (_, more) => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    try {
      publish('session/here', { kind: 'answer' })
      await turn()
      expect(bus.appends).toHaveLength(0)
      more()
      await turn()
      expect(bus.appends).toHaveLength(1)
      bus.appends[0]?.confirm()
      vi.advanceTimersByTime(2)
      await turn()
      expect(bus.appends).toHaveLength(1)
    } finally {
      vi.useRealTimers()
    }
  })

  it('freezes the members of a channel together with the frame before', async () => {
    for (let i = 0; i < 1_000; i++) publish(`group/g${i}`)
    publish('group/asked', { kind: 'request' })
    const frozen = publisher.freeze(asked('group/asked'))
    await turn()
    bus.appends[0]?.confirm()
    await turn()
    expect(bus.appends[1]).toMatchObject({ batches: [{ channel: 'group/asked' }], freeze: ['group/asked'] })
    bus.appends[1]?.confirm([[{ session: 's', subject: 'bot/b' }]])
    expect(await frozen).toEqual([{ session: 's', subject: 'bot/b' }])
  })
})

describe('a receipt', () => {
  it('is one acknowledgement per sender and append, after that is confirmed', async () => {
    for (const number of [1, 2, 3]) publish('group/a', { receipt: { to: a, number } })
    publish('group/a', { receipt: { to: sender('b'), number: 9 }, sender: 'b' })
    await turn()
    expect(told).toEqual([])
    bus.appends[0]?.confirm()
    await turn()
    expect(told).toEqual(['a ack 3 at 7/3', 'b ack 9 at 7/4'])
  })

  it('is in no hurry where it is for answers only', async () => {
    const answer = (number: number, to: Sender, sender: string) =>
      publish('session/s', { kind: 'answer', receipt: { to, number }, sender })
    answer(1, a, 'a')
    answer(1, sender('b'), 'b')
    publish('group/a', { receipt: { to: a, number: 2 }, sender: 'a' })
    answer(3, a, 'a')
    await turn()
    bus.appends[0]?.confirm()
    await turn()
    expect(told).toEqual(['a ack 3 at 7/4', 'b patient ack 1 at 7/2'])
  })

  it('is a refusal for each frame when the append is not confirmed, also of those that waited behind it', async () => {
    for (const number of [1, 2]) publish('group/a', { receipt: { to: a, number } })
    await turn()
    publish('group/a', { receipt: { to: a, number: 3 } })
    const frozen = publisher.freeze(asked('group/a')).catch((error) => error.code)
    await turn()
    bus.appends[0]?.fail()
    expect(await frozen).toBe('unavailable')
    expect(told).toEqual([1, 2, 3].map((number) => `a refused ${number} unavailable`))
    expect([publisher.waiting, bus.appends.length, fenced]).toEqual([0, 1, 0])
    publish('group/a', { receipt: { to: a, number: 4 } })
    await turn()
    bus.appends[1]?.confirm()
    await turn()
    expect(told.at(-1)).toBe('a ack 4 at 7/4')
    expect(appended(1)).toEqual([['group/a', 3, '7/4']])
  })

  it('is a refusal at once while too much waits for the bus, and not afterwards', async () => {
    const send = (number: number) => publish('all', { receipt: { to: a, number }, size: 1024 * 1024 })
    for (let number = 1; publisher.waiting <= limits.appendBytes; number++) send(number)
    expect(() => send(99)).toThrowError(expect.objectContaining({ code: 'unavailable' }))
    // The hub's own words have nobody to be refused to.
    expect(() => publish('session/elsewhere', { kind: 'answer' })).not.toThrow()
    await turn()
    await confirmAll()
    expect(publisher.waiting).toBe(0)
    expect(() => send(100)).not.toThrow()
    await turn()
  })
})

describe('a sender that brings more than the bus takes', () => {
  const send = (to: Sender, number: number) =>
    publish('all', { receipt: { to, number }, size: 512 * 1024, sender: String(number) })

  it.each(['confirm', 'fail'] as const)('waits until the bus has caught up (%s)', async (outcome) => {
    const b = sender('b')
    for (let number = 1; number <= 3; number++) send(a, number)
    expect(braked).toEqual([])
    for (let number = 4; number <= 6; number++) send(a, number)
    send(b, 7)
    expect(braked).toEqual(['a', 'b'])
    await turn()
    bus.appends[0]?.confirm()
    await turn()
    expect([braked, publisher.waiting > 0]).toEqual([['a', 'b'], true])
    bus.appends[1]?.[outcome]()
    await turn()
    if (outcome === 'confirm') bus.appends[2]?.confirm()
    await turn()
    expect(braked).toEqual([])
  })
})

describe("this worker's members", () => {
  it('get messages with the tick, but not while one for them is on its way by the bus', async () => {
    publish('group/a')
    publish('group/a', { kind: 'request' })
    unclear.add('group/a')
    publish('group/a')
    await turn()
    expect(local).toEqual(['group/a expects 2', 'group/a expects 3', 'group/a message 7/1'])
  })

  it('get answers with the tick too, but not what must come in the order of the log', async () => {
    publish('session/a', { kind: 'answer' })
    publish('session/b', { kind: 'answer', around: true })
    await turn()
    expect(local).toEqual(['session/b expects 2', 'session/a answer 7/1'])
  })

  it('get nothing before what its sender said earlier, though the last channel that waits for that loses its members', async () => {
    unclear = new Set(['group/a', 'client/bot/b'])
    publish('group/a')
    publish('client/bot/b')
    // Its last member left this worker: what is on its way there is for nobody here.
    unclear.delete('client/bot/b')
    publish('client/bot/c')
    await turn()
    expect(local).toEqual(['group/a expects 1', 'client/bot/b expects 2', 'client/bot/c expects 3'])
    unclear.delete('group/a')
    publish('client/bot/c')
    await turn()
    expect(local.at(-1)).toBe('client/bot/c message 7/4')
  })

  it('get what the bus did not take after all, but for requests and what is for any one of several', async () => {
    unclear = new Set(['group/a', 'group/b', 'session/s'])
    publish('group/a')
    publish('session/s', { kind: 'answer' })
    publish('group/b', { kind: 'request' })
    publish('session/t', { around: true })
    await turn()
    local.length = 0
    bus.appends[0]?.fail()
    await turn()
    expect(local).toEqual([
      'group/a lost 1',
      'group/a message 7/1',
      'session/s lost 2',
      'session/s answer 7/2',
      'group/b lost 3',
      'session/t lost 4',
    ])
  })
})

it('says that it is fenced when the bus says so', async () => {
  publish('group/a', { receipt: { to: a, number: 1 } })
  await turn()
  bus.appends[0]?.fail('fenced')
  await turn()
  expect(fenced).toBe(1)
  expect(told).toEqual(['a refused 1 unavailable'])
})
