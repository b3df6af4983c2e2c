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

/** One line once: a new server, a new load generator. */
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
  return await onCore(setting.cores?.load, () => load(task))
}

/** Lets a load generator of its own do a task. */
async function load(task: Task): Promise<Measured> {
  const script = fileURLToPath(new URL('load/main.ts', import.meta.url))
  const child = fork(script, { serialization: 'advanced', stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const exited = once(child, 'exit')
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  const timer = setTimeout(kill, longestMs)
  try {
    child.send(task)
    const outcome = await Promise.race([
      once(child, 'message').then(([message]) => message as Outcome),
      exited.then(([code, signal]): never => {
        throw new Error(`The load generator ended (${code ?? signal}).`)
      }),
    ])
    if ('error' in outcome) throw new Error(outcome.error)
    return outcome.measured
  } finally {
    await exited
    clearTimeout(timer)
    process.off('exit', kill)
  }
}
