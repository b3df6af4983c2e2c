import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Acks, ackMs, Receipts } from '../src/receipts.ts'

let told: string[]
let receipts: Receipts

beforeEach(() => {
  vi.useFakeTimers()
  told = []
  receipts = new Receipts(new Acks(), { send: ({ number, seq }) => void told.push(`${number}/${seq}`) })
  for (let number = 1; number <= 9; number++) receipts.begin(number)
})
afterEach(() => {
  vi.useRealTimers()
})

it('are told at once, but not one right behind another', () => {
  receipts.confirm(1, 7, 11, false)
  expect(told).toEqual(['1/11'])
  receipts.confirm(2, 7, 12, false)
  receipts.confirm(4, 7, 14, false)
  expect(told).toEqual(['1/11'])
  vi.advanceTimersByTime(ackMs)
  expect(told).toEqual(['1/11', '4/14'])
})

it('wait for something to go along with where nobody waits for them', () => {
  receipts.confirm(1, 7, 11, true)
  vi.advanceTimersByTime(ackMs)
  expect(told).toEqual([])
  receipts.flush()
  expect(told).toEqual(['1/11'])
  vi.advanceTimersByTime(1_000)
  expect(told).toEqual(['1/11'])
})

it('do not wait for ever', () => {
  receipts.confirm(1, 7, 11, true)
  vi.advanceTimersByTime(1_000)
  expect(told).toEqual(['1/11'])
})

it('in no hurry go along with one that is', () => {
  receipts.confirm(1, 7, 11, false)
  receipts.confirm(2, 7, 12, true)
  receipts.confirm(3, 7, 13, false)
  receipts.confirm(4, 7, 14, true)
  vi.advanceTimersByTime(ackMs)
  expect(told).toEqual(['1/11', '4/14'])
})

it('are told up to the first whose outcome is open, whatever was refused behind it', () => {
  receipts.refuse(3)
  receipts.refuse(4)
  expect(told).toEqual([])
  receipts.confirm(1, 7, 11, false)
  expect(told).toEqual(['1/11'])
  receipts.refuse(2)
  expect(told).toEqual(['1/11', '4/undefined'])
  receipts.confirm(5, 7, 15, false)
  vi.advanceTimersByTime(ackMs)
  expect(told.at(-1)).toBe('5/15')
  receipts.confirm(5, 7, 15, false)
  receipts.refuse(5)
  vi.advanceTimersByTime(1_000)
  expect(told).toHaveLength(3)
})
