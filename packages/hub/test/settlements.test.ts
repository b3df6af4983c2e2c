import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Settlements } from '../src/settlements.ts'
import type { Settled } from '../src/store.ts'

let told: Settled[][]
let settlements: Settlements

beforeEach(() => {
  vi.useFakeTimers()
  told = []
  settlements = new Settlements({ settled: async (requests) => void told.push(requests) })
})
afterEach(() => {
  vi.useRealTimers()
})

const settled = (number: number, ...picked: string[]): Settled => ({ session: 'a', number, picked })

it('are told many at a time', () => {
  for (let number = 1; number <= 3; number++) {
    settlements.add(settled(number))
    vi.advanceTimersByTime(100)
  }
  expect(told).toEqual([])
  vi.advanceTimersByTime(500)
  expect(told).toEqual([[settled(1), settled(2), settled(3)]])
  vi.advanceTimersByTime(10_000)
  expect(told).toHaveLength(1)
})

it('are told soon where a member was picked, which counts as busy until then', () => {
  settlements.add(settled(1))
  settlements.add(settled(2, 'b'))
  vi.advanceTimersByTime(20)
  expect(told).toEqual([[settled(1), settled(2, 'b')]])
  settlements.add(settled(3))
  vi.advanceTimersByTime(10_000)
  expect(told.slice(1)).toEqual([[settled(3)]])
})

it('that the store does not take are forgotten', async () => {
  const failing = new Settlements({ settled: () => Promise.reject(new Error('away')) })
  failing.add(settled(1))
  await vi.advanceTimersByTimeAsync(500)
  expect(vi.getTimerCount()).toBe(0)
})
