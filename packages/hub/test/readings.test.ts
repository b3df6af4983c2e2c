import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Readings } from '../src/readings.ts'
import { batchOf } from './frames.ts'
import { type ManualBus, manualBus, turn } from './manual-bus.ts'

const range = { origin: 1, to: 'group/g', from: 1, until: 9 }
const batch = batchOf(1, 0, [1])
const size = batch.bytes.length
const kibi = 1024

let bus: ManualBus
let readings: Readings

beforeEach(() => {
  bus = manualBus()
  readings = new Readings(bus, { bytes: 10 * kibi, waitMs: 1_000 })
})

/** A reading whose use takes until it is told to end. */
function reading(bytes: number) {
  const use = Promise.withResolvers<string>()
  const result = readings.read([range], bytes, () => use.promise)
  result.catch(() => undefined)
  return { result, end: use.resolve }
}

describe('readings for those who come back', () => {
  it('hold what they brought until it was used, and no longer what they might have brought', async () => {
    const { result, end } = reading(8 * kibi)
    await turn()
    expect(readings.held).toBe(8 * kibi)
    bus.readings[0]?.answer([{ batch, stamp: 1 }])
    await turn()
    expect(readings.held).toBe(size)
    end('used')
    expect(await result).toBe('used')
    expect(readings.held).toBe(0)
  })

  it('wait for each other in their order beyond what all may hold', async () => {
    const [first, , third] = [reading(8 * kibi), reading(8 * kibi), reading(1)]
    await turn()
    // The third would fit, but the second comes before it.
    expect(bus.readings).toHaveLength(1)
    bus.readings[0]?.answer([{ batch, stamp: 1 }])
    await turn()
    expect(bus.readings).toHaveLength(3)
    expect(readings.held).toBe(size + 8 * kibi + 1)
    bus.readings[2]?.answer([])
    third.end('third')
    first.end('first')
    expect(await Promise.all([first.result, third.result])).toEqual(['first', 'third'])
    expect(readings.held).toBe(8 * kibi)
  })

  it('that fail, or whose use does, hold nothing', async () => {
    const failed = reading(8 * kibi).result
    const unused = readings.read([range], 1, () => Promise.reject(new Error('gone')))
    await turn()
    bus.readings[0]?.fail()
    bus.readings[1]?.answer([{ batch, stamp: 1 }])
    await expect(failed).rejects.toMatchObject({ code: 'unavailable' })
    await expect(unused).rejects.toThrow('gone')
    expect(readings.held).toBe(0)
  })

  it('reserve no more than most of them bring, however much they may: many come back at a time', async () => {
    const mebi = 1024 * kibi
    readings = new Readings(bus, { bytes: 8 * mebi, waitMs: 1_000 })
    for (let i = 0; i < 9; i++) reading(16 * mebi)
    await turn()
    expect(bus.readings).toHaveLength(8)
    expect(readings.held).toBe(8 * mebi)
  })

  it('of more than all may hold come one by one', async () => {
    reading(20 * kibi)
    reading(20 * kibi)
    await turn()
    expect(bus.readings).toHaveLength(1)
    bus.readings[0]?.fail()
    await turn()
    expect(bus.readings).toHaveLength(2)
  })
})

describe('a reading that waits for too long', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
  afterEach(() => void vi.useRealTimers())

  it('is refused, so that its session comes back later, and holds up nobody', async () => {
    reading(8 * kibi)
    const refused = expect(reading(8 * kibi).result).rejects.toMatchObject({ code: 'unavailable' })
    vi.advanceTimersByTime(500)
    reading(1)
    await vi.advanceTimersByTimeAsync(500)
    await refused
    expect(bus.readings).toHaveLength(2)
    expect(readings.held).toBe(8 * kibi + 1)
  })
})
