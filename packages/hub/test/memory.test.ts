import { totalmem } from 'node:os'
import { expect, it } from 'vitest'
import { fairMemory, Memory, memoryUse } from '../src/memory.ts'

const use = (rss: number, heap = 0) => ({ rss, heap, heapLimit: 1_000 })

it('is tight from nine tenths on, and no longer once some of it has come back', () => {
  const memory = new Memory(1_000)
  const look = (rss: number) => [memory.look(use(rss)), memory.tight]
  expect([899, 900, 950, 890, 851, 849, 899].map(look)).toEqual([
    [false, false],
    [true, true],
    [false, true],
    [false, true],
    [false, true],
    [true, false],
    [false, false],
  ])
})

it('is tight as well when the heap of JavaScript is nearly full', () => {
  const memory = new Memory(1_000_000)
  memory.look(use(1, 899))
  expect(memory.tight).toBe(false)
  memory.look(use(1, 900))
  expect(memory.tight).toBe(true)
})

it('is measured, and shared among the workers', () => {
  const { rss, heap, heapLimit } = memoryUse()
  expect(rss).toBeGreaterThan(heap)
  expect(heapLimit).toBeGreaterThan(heap)
  expect(fairMemory(1)).toBeLessThan(totalmem())
  expect(fairMemory(4)).toBeLessThanOrEqual(fairMemory(1) / 4)
})
