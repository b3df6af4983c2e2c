import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Cell } from '../bench/question.ts'
import { questions } from '../bench/questions.ts'
import { answer, type Setting } from '../bench/run.ts'
import { median, summarise } from '../bench/statistics.ts'
import { table } from '../bench/table.ts'
import type { Work } from '../bench/work.ts'
import { buildHouse, type House } from '../src/house.ts'

const setting: Setting = { cores: undefined, rounds: 1, warmMs: 100, measureMs: 200 }
const timeout = 120_000

/** Each on TLS, which all of them speak. */
function cells(work: Work): Cell[] {
  return (['damon', 'plain-ws', 'socket-io'] as const).map((kind) => ({
    label: kind,
    server: { kind, tls: true },
    work,
  }))
}

describe('the benchmarks', () => {
  let house: House
  beforeAll(async () => {
    house = await buildHouse()
  })
  afterAll(async () => {
    await house?.[Symbol.asyncDispose]()
  })

  it('count every delivery of a fan-out, for our hub and its peers', { timeout }, async () => {
    const question = {
      name: 'tiny',
      title: 'fan-out to 10',
      figures: [{ name: 'cpuUs', title: 'server CPU per delivery', unit: 'us' }],
      cells: cells({ kind: 'groups', groups: 2, senders: 2, members: 5, window: 4, idle: 2 }),
      bars: [{ figure: 'cpuUs', of: 'damon', to: 'socket-io', most: 1_000 }],
    }
    const rounds = await answer(question, house, setting)
    expect(Object.keys(rounds[0] ?? {}).sort()).toEqual(['damon', 'plain-ws', 'socket-io'])
    for (const measured of Object.values(rounds[0] ?? {})) {
      expect(measured.deliveries).toBeGreaterThan(0)
      for (const value of Object.values(measured)) expect(value).toBeGreaterThanOrEqual(0)
    }
    expect(table(question, summarise(question, rounds))).toContain('server CPU per delivery, us')
  })

  it('have every reply to their requests', { timeout }, async () => {
    const figures = [{ name: 'meanMs', title: 'time to the last reply', unit: 'ms' }]
    const question = { name: 'tiny', title: '', figures, cells: cells({ kind: 'request', members: 3 }), bars: [] }
    const [round] = await answer(question, house, setting)
    for (const measured of Object.values(round ?? {})) {
      expect(measured.requests).toBeGreaterThan(0)
      expect(measured.meanMs).toBeGreaterThan(0)
    }
  })

  it('time every message that is sent at a fixed rate', { timeout }, async () => {
    const work = { kind: 'paced', clients: 4, rate: 500 } as const
    const question = { name: 'tiny', title: '', figures: [], cells: cells(work).slice(0, 1), bars: [] }
    const [round] = await answer(question, house, setting)
    expect(round?.damon?.deliveries).toBe((work.rate * setting.measureMs) / 1_000)
    expect(round?.damon?.p999Ms).toBeGreaterThan(0)
  })

  it('tell a server that does not start as what it is', { timeout }, async () => {
    const stranger: House = { ...house, startHub: () => Promise.reject(new Error('no hub today')) }
    const question = { name: 'tiny', title: '', figures: [], bars: [] }
    const work = { kind: 'idle', connections: 1 } as const
    await expect(answer({ ...question, cells: cells(work).slice(0, 1) }, stranger, setting)).rejects.toThrow(
      'tiny: damon could not be measured.',
    )
  })
})

it('compare within a round: a slow round is slow for both', () => {
  const work = { kind: 'idle', connections: 1 } as const
  const question = {
    name: 'a',
    title: 'a',
    figures: [{ name: 'x', title: 'x', unit: 'us' }],
    cells: [
      { label: 'one', server: { kind: 'damon' } as const, work },
      { label: 'two', server: { kind: 'nats' } as const, work },
    ],
    bars: [
      { figure: 'x', of: 'one', to: 'two', most: 0.5 },
      { figure: 'x', of: 'one', most: 2.9 },
    ],
  }
  const rounds = [
    { one: { x: 1 }, two: { x: 2 } },
    { one: { x: 30 }, two: { x: 60 } },
    { one: { x: 3 }, two: { x: 4 } },
  ]
  const { bars } = summarise(question, rounds)
  expect(bars.map(({ is, met }) => [is.median, met])).toEqual([
    [0.5, true],
    [3, false],
  ])
  expect(median([4, 1, 3, 2])).toBe(2.5)
})

it('have bars only between lines that they measure', () => {
  for (const { cells, figures, bars } of questions) {
    const labels = cells.map(({ label }) => label)
    expect(new Set(labels).size).toBe(labels.length)
    for (const bar of bars) {
      expect(labels).toContain(bar.of)
      if (bar.to !== undefined) expect(labels).toContain(bar.to)
      expect(figures.map(({ name }) => name)).toContain(bar.figure)
    }
  }
  expect(new Set(questions.map(({ name }) => name)).size).toBe(questions.length)
})
