import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { House } from '../src/house.ts'
import type { Outcome } from './load/main.ts'
import { onCore } from './processes.ts'
import type { Cell, Question } from './question.ts'
import { startServer } from './servers/servers.ts'
import { clientsOf, type Measured, type Task } from './work.ts'

/** Where processes run and for how long, ms. */
export interface Setting {
  /** Cores of the server and of the load generator; undefined: any. */
  cores: { server: number; load: number } | undefined
  rounds: number
  warmMs: number
  measureMs: number
  /** Whether lines say themselves in how few rounds they are enough. */
  brief?: boolean
}

/** What every line measured in one round, by label. */
export type Round = Record<string, Measured>

/** Longer than the longest work takes, ms: the load generator ends. */
const longestMs = 10 * 60_000

/** Answers a question: in each round every line once, beginning with another one each time. */
export async function answer(
  question: Question,
  house: House,
  setting: Setting,
  told: (label: string, round: number, measured: Measured) => void = () => undefined,
): Promise<Round[]> {
  const rounds: Round[] = []
  for (let number = 0; number < setting.rounds; number++) {
    const first = number % question.cells.length
    const order = [...question.cells.slice(first), ...question.cells.slice(0, first)]
    const round: Round = {}
    for (const cell of order) {
      if (setting.brief && number >= (cell.rounds ?? setting.rounds)) continue
      try {
        round[cell.label] = await measure(cell, house, setting)
      } catch (error) {
        throw new Error(`${question.name}: ${cell.label} could not be measured.`, { cause: error })
      }
      told(cell.label, number, round[cell.label] ?? {})
    }
    rounds.push(round)
  }
  return rounds
}

/** One line once: a new server, new load generators. */
async function measure(cell: Cell, house: House, setting: Setting): Promise<Measured> {
  await using server = await onCore(setting.cores?.server, () => startServer(cell.server, house))
  const task: Task = {
    endpoint: server.endpoint,
    passes: await server.enrol(clientsOf(cell.work)),
    pids: server.pids,
    work: cell.work,
    warmMs: setting.warmMs,
    measureMs: setting.measureMs,
  }
  // Awaited: the server goes when this function ends.
  return await onCore(setting.cores?.load, () => shared(task))
}

/** A task whose connections several load generators share, each with an address of its own: the first one measures. */
async function shared(task: Task): Promise<Measured> {
  const { work } = task
  if (work.kind !== 'crowd' || work.processes === 1) return load(task)
  const share = Math.ceil(task.passes.length / work.processes)
  await using holders = new AsyncDisposableStack()
  await Promise.all(
    Array.from({ length: work.processes - 1 }, async (_, index) => {
      const passes = task.passes.slice((index + 1) * share, (index + 2) * share)
      const held = { kind: 'hold', connections: passes.length } as const
      const generator = holders.use(startLoad({ ...task, passes, work: held, from: `127.0.0.${index + 2}` }))
      return generator.measured
    }),
  )
  return await load({ ...task, passes: task.passes.slice(0, share), from: '127.0.0.1' })
}

async function load(task: Task): Promise<Measured> {
  await using generator = startLoad(task)
  return await generator.measured
}

/** A load generator of its own does a task; it ends when disposed. */
function startLoad(task: Task): AsyncDisposable & { measured: Promise<Measured> } {
  const script = fileURLToPath(new URL('load/main.ts', import.meta.url))
  const child = fork(script, { serialization: 'advanced', stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const exited = once(child, 'exit')
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  const timer = setTimeout(kill, longestMs)
  child.send(task)
  const outcome = Promise.race([
    once(child, 'message').then(([message]) => message as Outcome),
    exited.then(([code, signal]): never => {
      throw new Error(`The load generator ended (${code ?? signal}).`)
    }),
  ])
  return {
    measured: outcome.then((told) => {
      if ('error' in told) throw new Error(told.error)
      return told.measured
    }),
    async [Symbol.asyncDispose]() {
      kill()
      await exited
      clearTimeout(timer)
      process.off('exit', kill)
    },
  }
}
