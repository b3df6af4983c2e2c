import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Acks, ackMs, companyMs, Receipts } from '../src/receipts.ts'

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

describe('of several frames at a time', () => {
  it('wait for something to go along with where there was something of late', () => {
    receipts.goAlong()
    receipts.confirm(4, 7, 14, false)
    vi.advanceTimersByTime(companyMs - 1)
    expect(told).toEqual([])
    receipts.goAlong()
    expect(told).toEqual(['4/14'])
    receipts.confirm(8, 7, 18, false)
    expect(told).toEqual(['4/14'])
    vi.advanceTimersByTime(companyMs)
    expect(told).toEqual(['4/14', '8/18'])
  })

  it('are told at once where there was nothing since the word before, which was written itself', () => {
    receipts.goAlong()
    receipts.confirm(2, 7, 12, false)
    vi.advanceTimersByTime(companyMs)
    receipts.goAlong()
    expect(told).toEqual(['2/12'])
    vi.advanceTimersByTime(ackMs)
    receipts.confirm(4, 7, 14, false)
    expect(told).toEqual(['2/12', '4/14'])
  })

  it('are told at once when they are so many that their sender may wait for room', () => {
    for (let number = 10; number <= 64; number++) receipts.begin(number)
    receipts.goAlong()
    receipts.confirm(64, 7, 74, false)
    expect(told).toEqual(['64/74'])
  })
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
