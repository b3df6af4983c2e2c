import { expect, test } from 'vitest'
import { Heartbeat } from '../src/heartbeat.ts'

test('pings first within a random part of a heartbeat, then every heartbeat', () => {
  const heartbeat = new Heartbeat(1_000, 50_000, 0.3)
  expect(heartbeat.step(50_299)).toBe('wait')
  expect(heartbeat.waitMs(50_100)).toBe(200)
  expect(heartbeat.step(50_300)).toBe('ping')
  heartbeat.pinged(50_300)
  heartbeat.heard(50_310)
  expect(heartbeat.step(51_299)).toBe('wait')
  expect(heartbeat.step(51_300)).toBe('ping')
})

test('is dead when nothing at all was heard for one and a half heartbeats', () => {
  const heartbeat = new Heartbeat(1_000, 0, 0)
  heartbeat.pinged(0)
  heartbeat.heard(100)
  heartbeat.pinged(1_000)
  expect(heartbeat.waitMs(1_000)).toBe(600)
  expect(heartbeat.step(1_599)).toBe('wait')
  expect(heartbeat.step(1_600)).toBe('dead')
})

test('anything heard puts the end off, a ping of its own does not', () => {
  const heartbeat = new Heartbeat(1_000, 0, 0)
  heartbeat.heard(1_499)
  heartbeat.pinged(1_499)
  expect(heartbeat.step(2_000)).toBe('wait')
  heartbeat.pinged(2_900)
  expect(heartbeat.step(2_999)).toBe('dead')
})
