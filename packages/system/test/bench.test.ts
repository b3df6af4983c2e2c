import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { between, writePage } from '../bench/page.ts'
import { planFor, slope } from '../bench/plan.ts'
import type { Cell, Question } from '../bench/question.ts'
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

  it('time messages to a group, and have all of them arrive at everybody', { timeout }, async () => {
    const work = { kind: 'paced-group', members: 5, rate: 100 } as const
    const question = { name: 'tiny', title: '', figures: [], cells: cells(work).slice(0, 1), bars: [] }
    const [round] = await answer(question, house, setting)
    expect(round?.damon?.deliveries).toBe((5 * work.rate * Math.max(setting.measureMs, 10_000 / work.rate)) / 1_000)
  })

  it('see neighbours lose nothing by one that does not read', { timeout }, async () => {
    const work = { kind: 'stuck-reader', members: 4, rate: 100, bytes: 4_096, fillBytes: 2 ** 24, stuck: true } as const
    const question = { name: 'tiny', title: '', figures: [], cells: cells(work).slice(0, 1), bars: [] }
    const [round] = await answer(question, house, setting)
    expect(round?.damon?.deliveries).toBe((3 * work.rate * setting.measureMs) / 1_000)
  })

  it('hold connections in several processes, from an address each, while some of them talk', { timeout }, async () => {
    const work = { kind: 'crowd', connections: 60, clients: 10, rate: 100, processes: 2 } as const
    const cell = { label: 'damon', server: { kind: 'damon', workers: 2, tls: true }, work } as const
    const question = { name: 'tiny', title: '', figures: [], cells: [cell], bars: [] }
    const [round] = await answer(question, house, setting)
    expect(round?.damon).toMatchObject({
      connections: 60,
      deliveries: (work.rate * setting.measureMs) / 1_000,
      rssMiB: expect.any(Number),
      idleCores: expect.any(Number),
    })
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

describe('a full run', () => {
  const work = (connections: number) => ({ kind: 'crowd', connections, clients: 2, rate: 1, processes: 1 }) as const
  const server = { kind: 'damon' } as const
  const figure = (name: string, unit: string) => ({ name, title: name, unit })
  const crowds: Question = {
    name: 'connections',
    title: 'many',
    figures: [figure('p99Ms', 'ms'), figure('rssMiB', 'MiB'), figure('idleCores', 'cores')],
    cells: [1_000, 5_000, 10_000].map((count) => ({ label: String(count), server, work: work(count), rounds: 1 })),
    bars: [{ figure: 'p99Ms', of: '10000', to: '1000', most: 2 }],
    plots: [
      {
        name: 'p',
        title: 'Latency & more',
        x: { title: 'connections', of: (cell) => Number(cell.label) },
        unit: 'ms',
        curves: [{ figure: 'p99Ms', title: 'p99' }],
      },
    ],
  }
  const rounds = [
    Object.fromEntries(
      [1, 5, 10].map((n) => [String(n * 1_000), { p99Ms: n, rssMiB: 100 + 10 * n, idleCores: n / 250 }]),
    ),
  ]
  const single = (name: string, figureName: string, value: number) => {
    const cells = [{ label: 'damon', server, work: work(1) }]
    const question: Question = { name, title: name, figures: [figure(figureName, 'x')], cells, bars: [] }
    return { question, summary: summarise(question, [{ damon: { [figureName]: value } }]) }
  }
  const answers = [
    { question: crowds, summary: summarise(crowds, rounds) },
    single('idle-tls', 'rssKiB', 50),
    single('direct', 'cpuUs', 4),
    single('fan-out', 'cpuUs', 0.4),
  ]

  it('writes its tables, bars, plan and pictures into the page and leaves the rest alone', async () => {
    await using folder = await temporaryFolder()
    const page = join(folder.path, 'performance.md')
    await writeFile(
      page,
      'before\n<!-- results -->\nold\n<!-- /results -->\nafter\n<!-- plan -->\nold\n<!-- /plan -->\n',
    )
    const run = { machine: ['a machine'], setting: 'today.', answers, failed: [{ name: 'x', reason: 'it broke' }] }
    await writePage(folder.path, run)
    const text = await readFile(page, 'utf8')
    expect(text).toMatch(/^before\n<!-- results -->\n\na machine\. today\. Bars: 0 of 1 met\./)
    expect(text).toContain('missed by 400 %')
    expect(text).toContain('`x` could not be measured: it broke')
    expect(text).toMatch(/<!-- \/results -->\nafter\n<!-- plan -->/)
    // 10 MiB for each 1,000 connections, on top of 100 MiB.
    expect(text).toMatch(/10\.2 KiB each, 100 MiB for a worker\s*\| 9\.8 GiB/)
    expect(text).toMatch(/0\.040 for each 10,000\s*\| 4\.0 /)
    expect(text).not.toContain('old')
    expect(text).not.toMatch(/NaN|undefined|\?/)
    const svg = await readFile(join(folder.path, 'performance', 'p.svg'), 'utf8')
    expect(svg).toMatch(/^<svg /)
    for (const part of ['Latency &amp; more', 'connections', '</svg>']) expect(svg).toContain(part)
    await writePage(folder.path, run)
    expect(await readFile(page, 'utf8')).toBe(text)
  })

  it('leaves a plan alone for which something was not measured', () => {
    expect(planFor(answers.slice(1).map(({ question, summary }) => ({ ...question, summary })))).toEqual([])
    expect(between('<!-- plan -->\nold\n<!-- /plan -->', 'plan', '')).toContain('old')
    expect(() => between('nothing', 'plan', 'new')).toThrow('<!-- plan -->')
  })

  it('asks lines only in as many rounds as they say', async () => {
    expect(
      slope([
        [1, 3],
        [2, 5],
        [4, 9],
      ]),
    ).toEqual({ each: 2, base: 1 })
    const [first] = crowds.cells
    const asked = { ...crowds, cells: [{ ...first!, rounds: 0 }], bars: [] }
    const house = { startHub: () => Promise.reject(new Error('nobody asked')) } as unknown as House
    expect(await answer(asked, house, { ...setting, rounds: 2, brief: true })).toEqual([{}, {}])
  })
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
