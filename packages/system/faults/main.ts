import { randomInt } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Random } from '@damon/testkit/random'
import type { Fault } from './fault.ts'
import { faults } from './faults.ts'
import { type Row, Run } from './run.ts'
import { table, together, wrongsOf } from './table.ts'

const usage = `npm run faults [-- options]

  --seed N       the order of the faults and every choice in them (random); with several, one run after another and one table of all
  --minutes M    begins no further fault after so long; without it each fault strikes once
  --only NAME    only this fault; may be given more than once

Faults: ${faults.map(({ name }) => name).join(' ')}
`

const folder = fileURLToPath(new URL('../../../fault-results/', import.meta.url))

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', multiple: true, default: [String(randomInt(2 ** 31))] },
      minutes: { type: 'string' },
      only: { type: 'string', multiple: true },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return void process.stdout.write(usage)
  const seeds = values.seed.map(whole)
  const minutes = values.minutes === undefined ? undefined : Number(values.minutes)
  if (minutes !== undefined && !(minutes > 0)) throw new Error(usage)
  const unknown = values.only?.find((name) => !faults.some((fault) => fault.name === name))
  if (unknown !== undefined) throw new Error(`There is no fault "${unknown}".\n\n${usage}`)
  const chosen = faults.filter(({ name }) => values.only?.includes(name) ?? true)
  process.env.PATH = `${process.env.PATH ?? ''}:/usr/sbin`

  const rows: Row[] = []
  for (const seed of seeds) {
    process.stdout.write(`seed ${seed}\n`)
    rows.push(...(await strikeAll(chosen, new Random(seed), minutes)))
  }
  const wrongs = wrongsOf(rows)
  const text = `seed ${seeds.join(', ')}\n\n${table(together(rows))}\n${wrongs ? `\n${wrongs}\n` : ''}`
  process.stdout.write(`\n${text}\n${wrongs ? 'FAILED' : 'Nothing unexplained, nothing twice.'}\n`)
  await mkdir(folder, { recursive: true })
  const path = join(folder, `${new Date().toISOString().replaceAll(':', '-')}.json`)
  await writeFile(path, `${JSON.stringify({ seeds, node: process.version, rows }, null, 2)}\n`)
  process.stdout.write(`Written to ${path}\n`)
  if (wrongs) process.exitCode = 1
}

/** Each fault once, in random order; with `minutes` again and again until that time is over. */
async function strikeAll(chosen: readonly Fault[], random: Random, minutes: number | undefined): Promise<Row[]> {
  const rows: Row[] = []
  const began = performance.now()
  const inTime = () => minutes === undefined || performance.now() - began < minutes * 60_000
  await using run = new Run(random)
  do {
    for (const fault of random.shuffle(chosen)) {
      if (!inTime()) break
      const row = await run.strike(fault)
      rows.push(row)
      process.stderr.write(`${table([row]).split('\n').at(-1)}\n${row.wrongs.map((wrong) => `  ${wrong}\n`).join('')}`)
    }
  } while (minutes !== undefined && inTime())
  return rows
}

function whole(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new Error(usage)
  return Number(text)
}

main().catch((error: unknown) => {
  for (let told = error; told instanceof Error; told = told.cause) process.stderr.write(`${told.message}\n`)
  process.exitCode = 1
})
