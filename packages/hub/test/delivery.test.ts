import { eventually } from '@damon/testkit/eventually'
import { Registry } from 'prom-client'
import { beforeEach, describe, expect, it } from 'vitest'
import { Delivery, type Receiver } from '../src/delivery.ts'
import { createMetrics } from '../src/metrics.ts'
import { batchOf, position, unwire } from './frames.ts'
import { type ManualBus, manualBus } from './manual-bus.ts'

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

function receiver(): Receiver & { got: string[] } {
  const got: string[] = []
  return {
    got,
    deliver: (run) => void got.push(...unwire(run.binary).map(position)),
    ask: ({ frame }) => void got.push(`asked ${position(frame)}`),
    answer: (words) => void got.push(...unwire(words.binary).map((frame) => `answer ${position(frame)}`)),
    gap: ({ origin, to, from, until }) => void got.push(`gap ${origin} ${to} ${from}-${until}`),
  }
}

async function member(): Promise<ReturnType<typeof receiver>> {
  const made = receiver()
  await delivery.add('group/g', made)
  return made
}

describe('what arrives', () => {
  it('goes to every member, and to nobody who left', async () => {
    const [one, two, gone] = [await member(), await member(), await member()]
    delivery.remove('group/g', gone)
    delivery.arrive(batchOf(1, 0, [1, 2]), 1)
    expect([one.got, two.got, gone.got]).toEqual([['1/1', '1/2'], ['1/1', '1/2'], []])
  })

  it('is ignored when it came before', async () => {
    const one = await member()
    delivery.arrive(batchOf(1, 0, [1, 2]), 1)
    delivery.arrive(batchOf(1, 0, [1, 2]), 1)
    delivery.arrive(batchOf(1, 2, [5]), 1)
    delivery.arrive(batchOf(1, 0, [1, 2]), 1)
    expect(one.got).toEqual(['1/1', '1/2', '1/5'])
  })

  it("is this worker's own fast frame only once, by the fast path", async () => {
    const one = await member()
    delivery.local(batchOf(own, 0, [1], { fast: true }))
    delivery.arrive(batchOf(own, 0, [1], { fast: true }), 1)
    delivery.arrive(batchOf(own, 1, [2]), 2)
    expect(one.got).toEqual(['7/1', '7/2'])
  })

  it('first from an origin is no hole, whatever its predecessor, while the store has not said where it stood', async () => {
    const one = await member()
    delivery.arrive(batchOf(1, 5, [6]), 1)
    expect(one.got).toEqual(['1/6'])
  })

  it('of its own is no hole after what took the short way', async () => {
    const one = await member()
    delivery.confirm('group/g', one, { stamp: 0, heads: [] })
    delivery.local(batchOf(own, 0, [4], { fast: true }))
    delivery.arrive(batchOf(own, 4, [5]), 2)
    expect([one.got, faults]).toEqual([['7/4', '7/5'], []])
  })

  it('and cannot be decoded is reported, and the rest is delivered', async () => {
    const one = await member()
    const broken = batchOf(1, 0, [1, 2], { kind: 'request' })
    broken.bytes = Buffer.concat([Buffer.from([0x82, 3, 64, 0, 1]), broken.bytes])
    delivery.arrive(broken, 1)
    expect(faults).toEqual(['garbled group/g'])
    expect(one.got).toEqual(['asked 1/1', 'asked 1/2'])
    broken.bytes = broken.bytes.subarray(0, 9)
    delivery.arrive({ ...broken, prev: 2, first: 3, last: 3 }, 2)
    expect(new Set(faults)).toEqual(new Set(['garbled group/g']))
    expect(one.got).toHaveLength(2)
  })

  it('is a request only for members that joined before it', async () => {
    const [early, late, joining] = [await member(), await member(), await member()]
    delivery.confirm('group/g', early, { stamp: 4, heads: [] })
    delivery.confirm('group/g', late, { stamp: 5, heads: [] })
    delivery.arrive(batchOf(1, 0, [1], { kind: 'request' }), 5)
    delivery.arrive(batchOf(1, 1, [2]), 5)
    expect([early.got, late.got, joining.got]).toEqual([['asked 1/1', '1/2'], ['1/2'], ['asked 1/1', '1/2']])
  })
})

describe('the fast path', () => {
  it('is closed while a frame for the members is on its way by the bus, and open when that has arrived', async () => {
    const one = await member()
    delivery.expect('group/g', 3)
    expect(delivery.isClear('group/g')).toBe(false)
    delivery.arrive(batchOf(own, 0, [2], { fast: true }), 1)
    expect(delivery.isClear('group/g')).toBe(false)
    delivery.arrive(batchOf(own, 2, [3]), 2)
    expect(delivery.isClear('group/g')).toBe(true)
    expect(one.got).toEqual(['7/3'])
  })

  it('is open again when the last of them was not confirmed', async () => {
    await member()
    delivery.expect('group/g', 3)
    delivery.expect('group/g', 4)
    const [first, second] = [batchOf(own, 0, [3]), batchOf(own, 3, [4])]
    expect(delivery.unconfirmed(first)).toBe(true)
    delivery.local(first)
    expect(delivery.isClear('group/g')).toBe(false)
    expect(delivery.unconfirmed(second)).toBe(true)
    expect(delivery.isClear('group/g')).toBe(true)
  })

  it('stays closed when a later one was not confirmed while an earlier one is in the log but has not arrived', async () => {
    const one = await member()
    delivery.confirm('group/g', one, { stamp: 0, heads: [] })
    delivery.expect('group/g', 3)
    delivery.expect('group/g', 4)
    // 3 is in the log, though the bus lost it; 4 is in nobody's log.
    expect(delivery.unconfirmed(batchOf(own, 3, [4]))).toBe(false)
    expect(delivery.isClear('group/g')).toBe(false)
    delivery.expect('group/g', 5)
    delivery.arrive(batchOf(own, 4, [5]), 2)
    await eventually(() => expect(bus.readings).toHaveLength(1))
    bus.readings[0]?.answer([{ batch: batchOf(own, 0, [3]), stamp: 1 }])
    await eventually(() => expect(one.got).toEqual(['7/3', '7/5']))
    expect(delivery.isClear('group/g')).toBe(true)
  })

  it('is open where nobody is', () => {
    delivery.expect('group/nobody', 1)
    expect(delivery.isClear('group/nobody')).toBe(true)
  })
})

describe('a subscription', () => {
  it('is one for all members of a channel, and ends with the last', async () => {
    const [one, two] = [await member(), await member()]
    delivery.remove('group/g', one)
    delivery.remove('group/g', one)
    expect(bus.subscriptions).toEqual(['+group/g'])
    delivery.remove('group/g', two)
    expect(bus.subscriptions).toEqual(['+group/g', '-group/g'])
    expect(delivery.size).toBe(0)
  })

  it('that fails leaves nothing behind, for whoever waited for it', async () => {
    const subscribed = Promise.withResolvers<void>()
    bus.subscribing = () => subscribed.promise
    const both = [receiver(), receiver()].map((one) => delivery.add('group/g', one))
    subscribed.reject(new Error('no bus'))
    for (const added of both) await expect(added).rejects.toThrow('no bus')
    expect(delivery.size).toBe(0)
    bus.subscribing = async () => undefined
    const one = await member()
    delivery.arrive(batchOf(1, 0, [1]), 1)
    expect(one.got).toEqual(['1/1'])
  })

  it('that is confirmed after its member left is not taken up again', async () => {
    const subscribed = Promise.withResolvers<void>()
    bus.subscribing = () => subscribed.promise
    const one = receiver()
    const added = delivery.add('group/g', one)
    delivery.remove('group/g', one)
    subscribed.resolve()
    await added
    expect(delivery.size).toBe(0)
    expect(bus.subscriptions).toEqual(['+group/g', '-group/g'])
  })
})
