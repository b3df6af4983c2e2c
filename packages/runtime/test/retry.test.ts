import { expect, it } from 'vitest'
import { backoff, delay } from '../src/retry.ts'

it('doubles the bound of the delay up to its limit, and starts again after a success', () => {
  const tries = backoff({ baseMs: 100, maxMs: 500, random: () => 0.5 })
  expect([tries.next(), tries.next(), tries.next(), tries.next(), tries.next()]).toEqual([50, 100, 200, 250, 250])
  tries.reset()
  expect(tries.next()).toBe(50)
})

it('may come back at once: the whole delay is random', () => {
  expect(backoff({ baseMs: 100, maxMs: 500, random: () => 0 }).next()).toBe(0)
})

it('ends a delay as soon as its signal is aborted', async () => {
  const controller = new AbortController()
  const waiting = delay(3_600_000, controller.signal)
  controller.abort(new Error('enough'))
  await expect(waiting).rejects.toThrow('enough')
  await expect(delay(3_600_000, controller.signal)).rejects.toThrow('enough')
})

it('resolves after the delay', async () => {
  await expect(delay(1, new AbortController().signal)).resolves.toBeUndefined()
})
