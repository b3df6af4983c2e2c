import { eventually } from '@damon/testkit/eventually'
import { Registry } from 'prom-client'
import { expect, it } from 'vitest'
import { EventLoop } from '../src/event-loop.ts'

it('tells how late a worker is, and forgets it once that was read', async () => {
  const loop = new EventLoop()
  const registry = new Registry()
  loop.register(registry, 'w3')
  const block = (ms: number) => {
    for (const until = performance.now() + ms; performance.now() < until; );
  }
  await eventually(async () => {
    block(300)
    await new Promise(setImmediate)
    expect(loop.lag(1)).toBeGreaterThan(0.2)
  })
  const text = await registry.metrics()
  expect(Number(/\{worker="w3",quantile="1"\} (\S+)/.exec(text)?.[1])).toBeGreaterThan(0.2)
  expect(loop.lag(1)).toBe(0)
  loop.stop()
})
