import { limits } from '@damon/protocol/limits'
import { Registry } from 'prom-client'
import { beforeEach, describe, expect, it } from 'vitest'
import { createMetrics } from '../src/metrics.ts'
import { type Publication, Publisher, type Sender } from '../src/publisher.ts'
import { messageFrame } from './frames.ts'
import { type ManualBus, manualBus, turn } from './manual-bus.ts'

let bus: ManualBus
let told: string[]
let local: string[]
let fenced: number
let clear: boolean
let publisher: Publisher

const sender = (name: string): Sender => ({
  acknowledge: (number, origin, seq) => told.push(`${name} ack ${number} at ${origin}/${seq}`),
  refuse: (number, error) => told.push(`${name} refused ${number} ${(error as { code: string }).code}`),
})
const a = sender('a')

beforeEach(() => {
  bus = manualBus(7)
  told = []
  local = []
  fenced = 0
  clear = true
  publisher = new Publisher({
    bus,
    members: {
      isClear: () => clear,
      local: (channel, { positioned }) => local.push(`${channel} ${positioned?.seq}`),
      expect: (channel, seq) => local.push(`${channel} expects ${seq}`),
      unconfirmed: (channel, seq) => local.push(`${channel} lost ${seq}`),
    },
    metrics: createMetrics(new Registry()),
    fenced: () => fenced++,
  })
})

function publication(channel: string, more: Partial<Publication> & { size?: number } = {}): Publication {
  const payload = new Uint8Array(more.size ?? 0)
  return { channel, frame: (origin, seq) => messageFrame({ origin, seq, payload }), fast: true, sender: 's', ...more }
}
const appended = (index = 0) =>
  bus.appends[index]?.batches.map(({ channel, prev, frames }) => [channel, prev, ...frames.map(({ seq }) => seq)])

describe('positions', () => {
  it('rise by one with each frame and name its origin', () => {
    const frames = ['group/a', 'group/b', 'group/a'].map(
      (channel) => publisher.publish(publication(channel)).positioned,
    )
    expect(frames.map((frame) => [frame?.origin, frame?.seq])).toEqual([
      [7, 1],
      [7, 2],
      [7, 3],
    ])
  })

  it('have their predecessor on the channel, over ticks and channels', async () => {
    for (const sender of ['x', 'y']) publisher.publish(publication('group/a', { sender }))
    publisher.publish(publication('group/b', { sender: 'z' }))
    await turn()
    publisher.publish(publication('group/a'))
    await turn()
    expect(appended(0)).toEqual([
      ['group/a', 0, 1, 2],
      ['group/b', 0, 3],
    ])
    expect(appended(1)).toEqual([['group/a', 2, 4]])
  })
})

describe('a tick', () => {
  it('is one append, however much was dispatched in it', async () => {
    for (let i = 0; i < 100; i++) publisher.publish(publication(`group/g${i % 10}`, { sender: `s${i}` }))
    await turn()
    expect(bus.appends).toHaveLength(1)
    expect(appended()).toHaveLength(10)
  })

  it("never lets a frame overtake its sender's earlier frame on another channel", async () => {
    publisher.publish(publication('group/a', { sender: 'x' }))
    publisher.publish(publication('group/b', { sender: 'y' }))
    publisher.publish(publication('group/a', { sender: 'y' }))
    publisher.publish(publication('group/b', { sender: 'x' }))
    await turn()
    expect(appended()).toEqual([
      ['group/a', 0, 1],
      ['group/b', 0, 2, 4],
      ['group/a', 1, 3],
    ])
  })

  it('that grows beyond what a script takes is appended in pieces, in order', async () => {
    for (let i = 0; i < 2_500; i++) publisher.publish(publication(`group/g${i}`))
    await turn()
    expect(bus.appends.map(({ batches }) => batches.length)).toEqual([1_000, 1_000, 500])
  })

  it('freezes the members of a channel in the append of the frame before', async () => {
    for (let i = 0; i < 1_000; i++) publisher.publish(publication(`group/g${i}`))
    publisher.publish(publication('group/asked', { fast: false }))
    const frozen = publisher.freeze('group/asked')
    await turn()
    expect(bus.appends[1]).toMatchObject({ batches: [{ channel: 'group/asked' }], freeze: ['group/asked'] })
    bus.appends[1]?.confirm([[{ session: 's', subject: 'bot/b' }]])
    expect(await frozen).toEqual([{ session: 's', subject: 'bot/b' }])
  })
})

describe('a receipt', () => {
  it('is one acknowledgement per sender and tick, after the append is confirmed', async () => {
    const b = sender('b')
    for (const number of [1, 2, 3]) publisher.publish(publication('group/a', { receipt: { to: a, number } }))
    publisher.publish(publication('group/a', { receipt: { to: b, number: 9 }, sender: 'b' }))
    await turn()
    expect(told).toEqual([])
    bus.appends[0]?.confirm()
    await turn()
    expect(told).toEqual(['a ack 3 at 7/3', 'b ack 9 at 7/4'])
  })

  it('is a refusal for each frame when the append is not confirmed', async () => {
    for (const number of [1, 2]) publisher.publish(publication('group/a', { receipt: { to: a, number } }))
    const frozen = publisher.freeze('group/a').catch((error) => error.code)
    await turn()
    bus.appends[0]?.fail()
    expect(await frozen).toBe('unavailable')
    expect(told).toEqual(['a refused 1 unavailable', 'a refused 2 unavailable'])
    expect(local.at(-1)).toBe('group/a lost 2')
    expect([publisher.waiting, fenced]).toEqual([0, 0])
  })

  it('is a refusal at once while too much waits for the bus, and not afterwards', async () => {
    const size = 1024 * 1024
    const publish = (number: number) => publisher.publish(publication('all', { receipt: { to: a, number }, size }))
    for (let number = 1; publisher.waiting <= limits.appendBytes; number++) publish(number)
    expect(() => publish(99)).toThrowError(expect.objectContaining({ code: 'unavailable' }))
    // The hub's own words have nobody to be refused to.
    expect(() => publisher.publish(publication('all'))).not.toThrow()
    await turn()
    for (const append of bus.appends) append.confirm()
    await turn()
    expect(() => publish(100)).not.toThrow()
  })
})

it('gives a fast frame to local members at once, but not while one for them is on its way by the bus', () => {
  publisher.publish(publication('group/a'))
  publisher.publish(publication('group/a', { fast: false }))
  clear = false
  publisher.publish(publication('group/a'))
  expect(local).toEqual(['group/a 1', 'group/a expects 2', 'group/a expects 3'])
})

it('says that it is fenced when the bus says so', async () => {
  publisher.publish(publication('group/a', { receipt: { to: a, number: 1 } }))
  await turn()
  bus.appends[0]?.fail('fenced')
  await turn()
  expect(fenced).toBe(1)
  expect(told).toEqual(['a refused 1 unavailable'])
})
