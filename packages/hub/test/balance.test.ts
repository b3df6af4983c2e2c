import { describe, expect, it } from 'vitest'
import { evenOut } from '../src/balance.ts'
import { askToLeave } from '../src/goaway.ts'

const loads = (...counts: number[]) => counts.map((sessions, worker) => ({ worker, sessions }))

describe('shares of workers', () => {
  it('are left as they are where they are near enough, or nobody else is there', () => {
    for (const counts of [[], [7], [0, 0], [0, 3], [500, 500, 500, 500], [520, 500, 490, 490]])
      expect(evenOut(loads(...counts))).toBeUndefined()
  })

  it('come out equal: the fuller ones give, only the emptier ones take', () => {
    const move = evenOut(loads(734, 621, 384, 261))
    expect(move).toEqual({
      part: [
        { worker: 0, count: 234 },
        { worker: 1, count: 121 },
      ],
      take: [2, 3],
    })
  })

  it('are even to an empty one', () => {
    expect(evenOut(loads(10, 10, 0))).toEqual({
      part: [
        { worker: 0, count: 3 },
        { worker: 1, count: 3 },
      ],
      take: [2],
    })
  })
})

describe('clients that are asked to leave', () => {
  function guests(count: number) {
    const frames: { afterMs: number; withinMs: number; hubs?: string[] | undefined }[] = []
    const guest = { isIdentified: true, send: (frame: (typeof frames)[number]) => void frames.push(frame) }
    return { frames, list: Array.from({ length: count }, () => guest) }
  }

  it('get slots that fill the time, as many in each, and none beyond it', () => {
    const { frames, list } = guests(1_000)
    expect(askToLeave(list, { reason: 'restarting', withinMs: 2_000, hubs: [] })).toBe(1_000)
    const starts = frames.map(({ afterMs }) => afterMs)
    expect(starts).toEqual([...starts].sort((a, b) => a - b))
    const perSlot = Map.groupBy(starts, (start) => start)
    expect(perSlot.size).toBe(100)
    for (const slot of perSlot.values()) expect(slot).toHaveLength(10)
    for (const { afterMs, withinMs } of frames) expect(afterMs + withinMs).toBeLessThanOrEqual(2_000)
    expect(frames[0]).not.toHaveProperty('hubs')
  })

  it('are few: then each has a slot of its own, and is told of other hubs', () => {
    const { frames, list } = guests(2)
    askToLeave([...list, { isIdentified: false, send: () => expect.unreachable() }], {
      reason: 'restarting',
      withinMs: 1_000,
      hubs: ['wss://b'],
    })
    expect(frames).toEqual([
      { type: 'goaway', reason: 'restarting', afterMs: 0, withinMs: 500, hubs: ['wss://b'] },
      { type: 'goaway', reason: 'restarting', afterMs: 500, withinMs: 500, hubs: ['wss://b'] },
    ])
  })
})
