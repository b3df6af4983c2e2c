import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '../src/clock.ts'

const minute = 60_000
const day = 24 * 60 * minute
const never = new AbortController().signal

beforeEach(() => void vi.useFakeTimers({ now: Date.parse('2026-12-01T00:00:00Z') }))
afterEach(() => void vi.useRealTimers())

/** A wait, and whether it is over. */
function wait(ms: number, signal = never) {
  const state = { over: false, error: undefined as unknown }
  systemClock.until(Date.now() + ms, signal).then(
    () => {
      state.over = true
    },
    (error) => {
      state.error = error
    },
  )
  return state
}

test('a wait of sixty days, beyond what a timer of Node can hold, ends after sixty days', async () => {
  const state = wait(60 * day)
  await vi.advanceTimersByTimeAsync(60 * day - minute)
  expect(state.over).toBe(false)
  await vi.advanceTimersByTimeAsync(minute)
  expect(state.over).toBe(true)
})

test('a clock that is set forwards is noticed within minutes, one that is set backwards does not end a wait early', async () => {
  const forwards = wait(10 * day)
  vi.setSystemTime(Date.now() + 11 * day)
  await vi.advanceTimersByTimeAsync(5 * minute)
  expect(forwards.over).toBe(true)
  const backwards = wait(10 * minute)
  vi.setSystemTime(Date.now() - 30 * minute)
  await vi.advanceTimersByTimeAsync(30 * minute)
  expect(backwards.over).toBe(false)
  await vi.advanceTimersByTimeAsync(10 * minute)
  expect(backwards.over).toBe(true)
})

test('a wait can be given up', async () => {
  const giving = new AbortController()
  const state = wait(60 * day, giving.signal)
  await vi.advanceTimersByTimeAsync(day)
  giving.abort(new Error('no more'))
  await vi.advanceTimersByTimeAsync(0)
  expect(state).toMatchObject({ over: false, error: { message: 'no more' } })
})
