import { limits } from '@damon/protocol/limits'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Restraint } from '../src/restraint.ts'

let restraint: Restraint
let told: string[]

beforeEach(() => {
  vi.useFakeTimers()
  restraint = new Restraint()
  told = []
})
afterEach(() => {
  vi.useRealTimers()
})

const sender = (name: string) => ({
  hold: () => void told.push(`${name} waits`),
  release: () => void told.push(`${name} goes on`),
})
const receiver = (...channels: string[]) => ({ channels })

it('holds who sends to a slow receiver until that has caught up, and nobody else', () => {
  const slow = receiver('all', 'group/g')
  const [one, other] = [sender('one'), sender('other')]
  restraint.sent('group/g', one)
  restraint.rise(slow)
  restraint.sent('group/g', one)
  restraint.sent('group/g', one)
  restraint.sent('group/h', other)
  expect(told).toEqual(['one waits'])
  restraint.fall(slow)
  restraint.sent('group/g', one)
  expect(told).toEqual(['one waits', 'one goes on'])
})

it('holds them until the last slow receiver there has caught up', () => {
  const [a, b] = [receiver('group/g'), receiver('group/g')]
  restraint.rise(a)
  restraint.rise(b)
  restraint.sent('group/g', sender('one'))
  restraint.fall(a)
  expect(told).toEqual(['one waits'])
  restraint.fall(b)
  expect(told).toEqual(['one waits', 'one goes on'])
})

it('holds nobody for one that stays slow longer than its time, until it becomes slow anew', () => {
  const stuck = receiver('group/g')
  const one = sender('one')
  restraint.rise(stuck)
  restraint.sent('group/g', one)
  vi.advanceTimersByTime(limits.stallMs)
  expect(told).toEqual(['one waits', 'one goes on'])
  restraint.sent('group/g', one)
  expect(restraint.held).toBe(0)
  restraint.fall(stuck)
  restraint.rise(stuck)
  restraint.sent('group/g', one)
  expect(restraint.held).toBe(1)
})

it('forgets a sender that is gone', () => {
  const slow = receiver('group/g')
  const one = sender('one')
  restraint.rise(slow)
  restraint.sent('group/g', one)
  restraint.forget(one)
  restraint.fall(slow)
  expect(told).toEqual(['one waits'])
})
