import type { Position } from '@damon/protocol/frames'
import { eventually } from '@damon/testkit/eventually'
import { Registry } from 'prom-client'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Logged } from '../src/bus.ts'
import { Delivery, type Receiver } from '../src/delivery.ts'
import { createMetrics } from '../src/metrics.ts'
import { batchOf, position, unwire } from './frames.ts'
import { type ManualBus, manualBus, type PendingReading, turn } from './manual-bus.ts'

const own = 7
let bus: ManualBus
let delivery: Delivery
let registry: Registry
let faults: string[]

beforeEach(() => {
  bus = manualBus(own)
  registry = new Registry()
  faults = []
  delivery = new Delivery({
    bus,
    metrics: createMetrics(registry),
    faults: {
      hole: ({ origin, to, from, until }) => void faults.push(`hole ${origin} ${to} ${from}-${until}`),
      gap: ({ origin, to, from, until }) => void faults.push(`gap ${origin} ${to} ${from}-${until}`),
      garbled: (channel) => void faults.push(`garbled ${channel}`),
    },
  })
})

/** A member of a channel at the given heads, and all that it was given; late frames are marked. */
async function member(channel = 'group/g', heads: Omit<Position, 'to'>[] = []): Promise<Receiver & { got: string[] }> {
  const got: string[] = []
  const receiver: Receiver & { got: string[] } = {
    got,
    deliver: (run) =>
      void got.push(
        ...unwire(run.binary).map((frame) => position(frame) + ('late' in frame && frame.late ? ' late' : '')),
      ),
    ask: ({ frame }) => void got.push(`asked ${position(frame)}`),
    answer: (words) => void got.push(...unwire(words.binary).map((frame) => `answer ${position(frame)}`)),
    gap: ({ origin, to, from, until }) => void got.push(`gap ${origin} ${to} ${from}-${until}`),
  }
  await delivery.add(channel, receiver)
  delivery.confirm(channel, receiver, { stamp: 0, heads: heads.map((head) => ({ ...head, to: channel })) })
  return receiver
}

/** The reading that is asked for. */
async function reading(count = 1): Promise<PendingReading> {
  await eventually(() => expect(bus.readings).toHaveLength(count))
  return bus.readings[count - 1] as PendingReading
}

const logged = (batch: Logged['batch'], stamp: number): Logged => ({ batch, stamp })
const counted = async (result: string) => {
  const text = await registry.getSingleMetricAsString('damon_hub_holes_total')
  return Number(new RegExp(`result="${result}"} (\\d+)`).exec(text)?.[1] ?? 0)
}

describe('a hole', () => {
  it('holds back what comes after it until the log has filled it, and then nothing is out of order', async () => {
    const one = await member()
    delivery.arrive(batchOf(1, 0, [1]), 1)
    delivery.arrive(batchOf(1, 3, [4]), 4)
    delivery.arrive(batchOf(2, 0, [1]), 5)
    delivery.arrive(batchOf(1, 4, [5]), 6)
    expect(one.got).toEqual(['1/1'])
    const { ranges, answer } = await reading()
    expect(ranges).toEqual([{ origin: 1, to: 'group/g', from: 2, until: 3 }])
    answer([logged(batchOf(1, 1, [2]), 2), logged(batchOf(1, 2, [3]), 3)])
    await turn()
    expect(one.got).toEqual(['1/1', '1/2', '1/3', '1/4', '2/1', '1/5'])
    expect([await counted('found'), await counted('repaired'), await counted('unrepaired')]).toEqual([1, 1, 0])
    expect(faults).toEqual(['hole 1 group/g 2-3'])
  })

  it('that the log cannot fill is told as a gap in its place', async () => {
    const one = await member('group/g', [{ origin: 1, seq: 3 }])
    delivery.arrive(batchOf(1, 9, [10]), 9)
    const { answer } = await reading()
    answer([logged(batchOf(1, 7, [9]), 8)], [{ origin: 1, to: 'group/g', from: 4, until: 7 }])
    await turn()
    expect(one.got).toEqual(['gap 1 group/g 4-7', '1/9', '1/10'])
    expect(faults).toEqual(['hole 1 group/g 4-9', 'gap 1 group/g 4-7'])
    expect([await counted('repaired'), await counted('unrepaired')]).toEqual([0, 1])
    expect(await registry.getSingleMetricAsString('damon_hub_gaps_total')).toContain('{where="bus"} 1')
  })

  it('in which there never was anything is none', async () => {
    const one = await member()
    delivery.arrive(batchOf(1, 6, [7]), 9)
    ;(await reading()).answer([])
    await turn()
    delivery.arrive(batchOf(1, 7, [8]), 10)
    expect(one.got).toEqual(['1/7', '1/8'])
  })

  it('at the very beginning is found by where the channel stood at the join', async () => {
    const one = await member('group/g', [{ origin: 1, seq: 3 }])
    delivery.arrive(batchOf(1, 4, [5]), 5)
    const { ranges, answer } = await reading()
    expect(ranges).toEqual([{ origin: 1, to: 'group/g', from: 4, until: 4 }])
    answer([logged(batchOf(1, 3, [4]), 4)])
    await turn()
    expect(one.got).toEqual(['1/4', '1/5'])
  })

  it('is none where what came before belongs to a subscription that had ended', async () => {
    const got: string[] = []
    const receiver: Receiver = {
      deliver: ({ binary }) => got.push(...unwire(binary).map(position)),
      ask() {},
      answer() {},
      gap() {},
    }
    await delivery.add('group/g', receiver)
    // On its way when the last member before this one left; what followed it went past this worker.
    delivery.arrive(batchOf(1, 0, [1]), 1)
    delivery.confirm('group/g', receiver, { stamp: 4, heads: [{ origin: 1, to: 'group/g', seq: 4 }] })
    delivery.arrive(batchOf(1, 4, [5]), 5)
    expect([got, faults]).toEqual([['1/1', '1/5'], []])
  })

  it('is measured by the member that joined first, though the store told of another first', async () => {
    await member('group/g', [{ origin: 1, seq: 6 }])
    await member('group/g', [{ origin: 1, seq: 3 }])
    delivery.arrive(batchOf(1, 6, [7]), 5)
    expect((await reading()).ranges).toMatchObject([{ from: 4, until: 6 }])
  })

  it('behind another one is filled too', async () => {
    const one = await member()
    delivery.arrive(batchOf(1, 1, [2]), 2)
    delivery.arrive(batchOf(1, 3, [4]), 4)
    delivery.behind([{ origin: 2, to: 'group/g', seq: 1 }])
    ;(await reading(1)).answer([logged(batchOf(1, 0, [1]), 1)])
    ;(await reading(2)).answer([logged(batchOf(1, 2, [3]), 3)])
    const last = await reading(3)
    expect(last.ranges).toMatchObject([{ origin: 2, from: 1, until: 1 }])
    last.answer([logged(batchOf(2, 0, [1]), 5)])
    await turn()
    expect(one.got).toEqual(['1/1', '1/2', '1/3', '1/4', '2/1'])
  })

  it('is read again until the log answers', async () => {
    const one = await member()
    delivery.arrive(batchOf(1, 1, [2]), 2)
    ;(await reading(1)).fail()
    ;(await reading(2)).fail()
    ;(await reading(3)).answer([logged(batchOf(1, 0, [1]), 1)])
    await eventually(() => expect(one.got).toEqual(['1/1', '1/2']))
  })

  it('is given up when too much waits behind it', async () => {
    const one = await member()
    const payload = new Uint8Array(1024 * 1024)
    for (let seq = 2; seq <= 20; seq++) delivery.arrive(batchOf(1, seq - 1, [seq], { payload }), seq)
    expect(one.got.slice(0, 2)).toEqual(['gap 1 group/g 1-1', '1/2'])
    expect(one.got.at(-1)).toBe('1/20')
    // What the log says afterwards is late.
    ;(await reading()).answer([logged(batchOf(1, 0, [1]), 1)])
    await turn()
    expect(one.got).toHaveLength(20)
  })

  it('is marked late where other destinations have moved on, and only there', async () => {
    const [here, there] = [await member('group/g'), await member('group/h')]
    delivery.arrive(batchOf(1, 1, [2]), 2)
    ;(await reading(1)).answer([logged(batchOf(1, 0, [1]), 1)])
    await turn()
    delivery.arrive(batchOf(1, 3, [4]), 4)
    delivery.arrive(batchOf(1, 0, [5], { channel: 'group/h' }), 5)
    ;(await reading(2)).answer([logged(batchOf(1, 2, [3]), 3)])
    await turn()
    expect([here.got, there.got]).toEqual([['1/1', '1/2', '1/3 late', '1/4 late'], ['1/5']])
  })

  it('closes the short way: nothing new overtakes what is held', async () => {
    await member()
    delivery.arrive(batchOf(1, 1, [2]), 2)
    expect(delivery.isClear('group/g')).toBe(false)
    ;(await reading()).answer([])
    await turn()
    expect(delivery.isClear('group/g')).toBe(true)
  })

  it('in own frames is filled with those that did not take the short way', async () => {
    const one = await member()
    delivery.expect('group/g', 2)
    delivery.arrive(batchOf(own, 3, [4]), 4)
    const answered = [batchOf(own, 0, [1], { fast: true }), batchOf(own, 1, [2]), batchOf(own, 2, [3])]
    ;(await reading()).answer(answered.map(logged))
    await turn()
    expect(one.got).toEqual(['7/2', '7/3', '7/4'])
    expect(delivery.isClear('group/g')).toBe(true)
  })

  it('of a channel that nobody is in any more concerns nobody', async () => {
    const one = await member()
    delivery.arrive(batchOf(1, 1, [2]), 2)
    const { answer } = await reading()
    delivery.remove('group/g', one)
    const two = await member('group/g', [{ origin: 1, seq: 2 }])
    answer([logged(batchOf(1, 0, [1]), 1)])
    await turn()
    delivery.arrive(batchOf(1, 2, [3]), 3)
    expect([one.got, two.got]).toEqual([[], ['1/3']])
  })
})

describe('what was lost last', () => {
  it('is found by the tails of its origin', async () => {
    const one = await member()
    delivery.arrive(batchOf(1, 0, [1]), 1)
    delivery.behind([
      { origin: 1, to: 'group/g', seq: 2 },
      { origin: 1, to: 'group/nobody', seq: 9 },
    ])
    const { ranges, answer } = await reading()
    expect(ranges).toEqual([{ origin: 1, to: 'group/g', from: 2, until: 2 }])
    answer([logged(batchOf(1, 1, [2]), 2)])
    await turn()
    delivery.behind([{ origin: 1, to: 'group/g', seq: 2 }])
    await turn()
    expect(one.got).toEqual(['1/1', '1/2'])
    expect(bus.readings).toHaveLength(1)
  })

  it('is found by an audit on every channel at once, and asked for until the bus says where it stands', async () => {
    const [one, two] = [await member('group/g'), await member('group/h', [{ origin: 1, seq: 4 }])]
    delivery.arrive(batchOf(1, 0, [1]), 1)
    const standing = [
      { origin: 1, to: 'group/g', seq: 3 },
      { origin: 1, to: 'group/h', seq: 5 },
    ]
    let tries = 0
    bus.heads = async () => {
      if (++tries < 3) throw new Error('no answer')
      return standing
    }
    await delivery.audit()
    const { ranges, answer } = await reading()
    expect(ranges.map(({ to, from, until }) => [to, from, until])).toEqual([
      ['group/g', 2, 3],
      ['group/h', 5, 5],
    ])
    answer([logged(batchOf(1, 1, [3]), 2), logged(batchOf(1, 4, [5], { channel: 'group/h' }), 3)])
    await turn()
    expect([one.got, two.got]).toEqual([['1/1', '1/3'], ['1/5']])
  })

  it('of an origin that ended is read once, and then old news of it counts no more', async () => {
    const one = await member()
    delivery.arrive(batchOf(1, 0, [1]), 1)
    bus.standing = [{ origin: 1, to: 'group/g', seq: 2 }]
    await delivery.ended(1)
    ;(await reading()).answer([logged(batchOf(1, 1, [2]), 2)])
    await turn()
    await delivery.audit()
    await turn()
    expect(one.got).toEqual(['1/1', '1/2'])
    expect(bus.readings).toHaveLength(1)
  })
})
