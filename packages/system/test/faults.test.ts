import { Random } from '@damon/testkit/random'
import { afterAll, expect, it } from 'vitest'
import { faults } from '../faults/faults.ts'
import { type Row, Run } from '../faults/run.ts'
import { table } from '../faults/table.ts'

/** Of the whole suite (`npm run faults`) what fits into less than a minute: a worker that dies, a roll, a bus that loses, lines that die. */
const selection = ['worker-killed', 'rolled', 'subscribers-overrun', 'lines-half-open']
/** The storm of the whole suite takes both cores for itself. */
const mostPerSecond = 1_000

const run = new Run(new Random(1))
const rows: Row[] = []
afterAll(async () => {
  await run[Symbol.asyncDispose]()
  process.stdout.write(`${table(rows)}\n`)
})

for (const name of selection) {
  const fault = faults.find((one) => one.name === name)!
  it(`${fault.title}: every message once and in order, or its loss is told`, { timeout: 180_000 }, async () => {
    const traffic = { ...fault.traffic, rate: Math.min(fault.traffic.rate, mostPerSecond) }
    const row = await run.strike({ ...fault, traffic })
    rows.push(row)
    expect(row.wrongs).toEqual([])
    expect(row.messages).toBeGreaterThan(500)
    expect(row.delivered).toBeGreaterThan(row.messages / 2)
  })
}
