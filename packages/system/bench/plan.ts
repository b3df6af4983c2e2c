import type { Cell } from './question.ts'
import type { Summary } from './statistics.ts'

/** The line that lies closest to these points (least squares): what x adds for each of it, and what is there without. */
export function slope(points: readonly (readonly [x: number, y: number])[]): { each: number; base: number } {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [x, y] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))]
  const above = points.reduce((sum, [px, py]) => sum + (px - x) * (py - y), 0)
  const below = points.reduce((sum, [px]) => sum + (px - x) ** 2, 0)
  const each = above / below
  return { each, base: y - each * x }
}

/** An answered question. */
export interface Answered {
  name: string
  summary: Summary
  cells: readonly Cell[]
}

/** How many connections the plan is for. */
const goal = 1_000_000
/** What one Redis takes at most, appends/s: one for each tick of a worker in which somebody sent. */
const appendsPerRedis = 40_000
/** Ticks of a busy worker, 1/s. */
const ticksPerSecond = 500
/** Messages that reach somebody in each second, with so many connections. */
const deliveriesPerSecond = 500_000
/** A core is full before all of it is used. */
const usable = 0.7

/** What a million connections need, computed from what was measured: lines of Markdown; none where something was not measured. */
export function planFor(answers: readonly Answered[]): string[] {
  const figure = (question: string, name: string, label: string) =>
    answers
      .find((one) => one.name === question)
      ?.summary.figures.find((one) => one.name === name)
      ?.lines.find((line) => line.label === label)?.spread.median
  const crowds = answers.find(({ name }) => name === 'connections')
  const alone = crowds?.cells.filter(({ server }) => (server.workers ?? 1) === 1) ?? []
  const line = (name: string) =>
    slope(
      alone.map(({ label, work }) => [
        'connections' in work ? work.connections : Number.NaN,
        figure('connections', name, label) ?? Number.NaN,
      ]),
    )
  const tls = figure('idle-tls', 'rssKiB', 'damon')
  const [direct, fanOut] = [figure('direct', 'cpuUs', 'damon'), figure('fan-out', 'cpuUs', 'damon')]
  if (alone.length < 2 || tls === undefined || direct === undefined || fanOut === undefined) return []
  const memory = line('rssMiB')
  const cores = line('idleCores')
  const idle = goal * cores.each
  const busy = (us: number) => (deliveriesPerSecond * us) / 1e6
  const workers = Math.ceil((idle + busy(direct)) / usable)
  const gib = (kib: number) => `${((goal * kib) / 2 ** 20).toFixed(1)} GiB`
  const kib = memory.each * 1_024
  return [
    '| for 1,000,000 connections                        | measured                                | needed |',
    '| ------------------------------------------------ | --------------------------------------- | ------ |',
    `| memory, plain behind a terminator                | ${kib.toFixed(1)} KiB each, ${memory.base.toFixed(0)} MiB for a worker | ${gib(kib)} |`,
    `| memory, TLS in the hub                           | ${tls.toFixed(1)} KiB each                       | ${gib(tls)} |`,
    `| cores while all only live                        | ${(cores.each * 10_000).toFixed(3)} for each 10,000         | ${idle.toFixed(1)} |`,
    `| cores for ${deliveriesPerSecond.toLocaleString('en')} direct messages/s          | ${direct.toFixed(2)} us each                    | ${busy(direct).toFixed(1)} |`,
    `| the same as fan-out to 200                       | ${fanOut.toFixed(2)} us each                    | ${busy(fanOut).toFixed(1)} |`,
    `| workers, for direct messages, ${usable * 100} % of a core each | the sum of both                       | ${workers} |`,
    `| connections of a worker                          |                                         | ${Math.round(goal / workers).toLocaleString('en')} |`,
    `| partitions of Redis, ${ticksPerSecond} ticks/s of each worker   | ${appendsPerRedis.toLocaleString('en')} appends/s each               | ${Math.ceil((workers * ticksPerSecond) / appendsPerRedis)} |`,
  ]
}
