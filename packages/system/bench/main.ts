import { execFileSync } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { arch, cpus, release, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { buildHouse } from '../src/house.ts'
import { type Run, writePage } from './page.ts'
import type { Question } from './question.ts'
import { questions } from './questions.ts'
import { answer, type Round, type Setting } from './run.ts'
import { summarise } from './statistics.ts'
import { table } from './table.ts'
import type { Measured } from './work.ts'

const usage = `npm run bench [-- QUESTION... [options]]

  --rounds N     rounds, each with every server (5)
  --measure MS   time that counts, in each round, of each server (2000)
  --warm MS      time before it (1000)
  --tls          all of it over TLS
  --only LABEL   only this line (damon); may be given more than once
  --quiet        no word on each measurement
  --full         all questions in a quarter of an hour; writes docs/performance.md and its pictures
  --json PATH    where the figures are written to (bench-results/<time>.json)

Questions: ${questions.map(({ name }) => name).join(' ')}
`

/** Where the page is that shows them. */
const docs = fileURLToPath(new URL('../../../docs/', import.meta.url))
/** Where results are kept. */
const folder = fileURLToPath(new URL('../../../bench-results/', import.meta.url))

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: '5' },
      measure: { type: 'string' },
      warm: { type: 'string' },
      tls: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true },
      quiet: { type: 'boolean', default: false },
      full: { type: 'boolean', default: false },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(usage)
    return
  }
  const chosen = choose(positionals).map((question) => narrow(question, values))
  checkRequirements()
  const setting: Setting = {
    cores: { server: 0, load: 1 },
    rounds: count(values.rounds),
    warmMs: count(values.warm ?? (values.full ? '300' : '1000')),
    measureMs: count(values.measure ?? (values.full ? '700' : '2000')),
    brief: values.full,
  }
  const began = new Date()
  const machine = describeMachine()
  process.stdout.write(`${machine.cpu}, Linux ${machine.kernel}, Node ${machine.node}; ${setting.rounds} rounds\n\n`)
  await using house = await buildHouse()
  const results = []
  const answers: Run['answers'] = []
  const failed: Run['failed'] = []
  for (const question of chosen) {
    const tell = (label: string, round: number, measured: Measured) => {
      const figures = Object.entries(measured).map(([name, value]) => `${name} ${value.toPrecision(4)}`)
      if (!values.quiet) process.stderr.write(`${question.name} ${round + 1} ${label}: ${figures.join(', ')}\n`)
    }
    let rounds: Round[]
    try {
      rounds = await answer(question, house, setting, tell)
    } catch (error) {
      // The other questions can still be answered.
      fail(error)
      failed.push({ name: question.name, reason: (error as Error).message })
      continue
    }
    const summary = summarise(question, rounds)
    process.stdout.write(`${table(question, summary)}\n`)
    results.push({ name: question.name, title: question.title, ...summary, cells: question.cells, rounds })
    answers.push({ question, summary })
  }
  const path = values.json ?? join(folder, `${began.toISOString().replaceAll(':', '-')}.json`)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, `${JSON.stringify({ began, ended: new Date(), machine, setting, results }, null, 2)}\n`)
  process.stdout.write(`Written to ${path}\n`)
  if (!values.full) return
  const minutes = Math.round((Date.now() - began.getTime()) / 60_000)
  const { rounds, warmMs, measureMs } = setting
  await writePage(docs, {
    machine: [machine.cpu, `${machine.memoryGiB} GiB`, `Linux ${machine.kernel}`, `Node ${machine.node}`, machine.nats],
    setting: `${began.toISOString().slice(0, 10)}, ${minutes} minutes; ${rounds} rounds where it says min-max, ${measureMs} ms after ${warmMs} ms of warming up in each, the server on one core and the load on another.`,
    answers,
    failed,
  })
  process.stdout.write(`Written to ${docs}performance.md\n`)
}

function choose(names: string[]): Question[] {
  if (names.length === 0) return [...questions]
  return names.map((name) => {
    const question = questions.find((one) => one.name === name)
    if (!question) throw new Error(`There is no question "${name}".\n\n${usage}`)
    return question
  })
}

function narrow(question: Question, { tls, only }: { tls: boolean; only?: string[] | undefined }): Question {
  const cells = question.cells
    .filter(({ label }) => only === undefined || only.includes(label))
    .map((cell) => (tls ? { ...cell, server: { ...cell.server, tls } } : cell))
  const has = (label: string | undefined) => label === undefined || cells.some((cell) => cell.label === label)
  const bars = tls ? [] : question.bars.filter(({ of, to }) => has(of) && has(to))
  return { ...question, title: tls ? `${question.title}, all over TLS` : question.title, cells, bars }
}

function count(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new Error(`"${text}" is no number that can be used here.\n\n${usage}`)
  return Number(text)
}

function checkRequirements(): void {
  process.env.PATH = `${process.env.PATH ?? ''}:/usr/sbin`
  if (cpus().length < 2) throw new Error('The server and the load generator need a core each.')
  const missing = ['nats-server', 'redis-server', 'taskset'].filter((program) => {
    try {
      execFileSync(program, ['--version'], { stdio: 'ignore' })
      return false
    } catch {
      return true
    }
  })
  if (missing.length > 0)
    throw new Error(
      `The benchmarks need ${missing.join(', ')}. On Debian: sudo apt-get install nats-server redis-server util-linux`,
    )
}

function describeMachine() {
  return {
    cpu: `${cpus().length} x ${cpus()[0]?.model.trim() ?? '?'} (${arch()})`,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release().split('-')[0],
    node: process.version,
    nats: execFileSync('nats-server', ['--version']).toString().trim(),
    redis: execFileSync('redis-server', ['--version']).toString().trim(),
  }
}

function fail(error: unknown): void {
  for (let told: unknown = error; told instanceof Error; told = told.cause) process.stderr.write(`${told.message}\n`)
  process.exitCode = 1
}

main().catch(fail)
