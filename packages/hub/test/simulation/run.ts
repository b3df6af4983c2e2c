import { type Comparison, compare, isClean } from '@damon/testkit/comparison'
import { Random } from '@damon/testkit/random'
import { Crew, mintTokens } from './crew.ts'
import { dialler } from './dialler.ts'
import { Machine, type Weather } from './machine.ts'
import { VirtualTime } from './virtual-time.ts'

/** One run of the simulation. */
export interface Scenario {
  seed: number
  workers: number
  clients: number
  groups: number
  messages: number
  /** The share of messages that are for any member of a group. */
  any: number
  weather: Weather
  /** How long a session can be taken up again. */
  resumeMs: number
  /** How long a session without a line counts as there. */
  awayMs: number
  /** Faults per 100 messages, of each kind. */
  faults: { cut: number; hang: number; kill: number; freeze: number; shut: number; slow: number; collapse: number }
}

/** What came of it. */
export interface Outcome extends Comparison {
  resumed: number
  begun: number
  /** Messages whose fate nobody learnt in time. */
  open: number
  /** What came after a later message of the same sender, and did not have to, or did not say so. */
  across: string[]
  /** Of requests and records. */
  wrongs: string[]
}

const usualRoom = { kernelBytes: 262_144, outboxFrames: 4_096 }

export const usual: Omit<Scenario, 'seed'> = {
  workers: 3,
  clients: 8,
  groups: 3,
  messages: 400,
  any: 0.1,
  weather: { clientMs: 6, busMs: 3, batchLoss: 0, batchLag: 0, hasty: false, careless: false, ...usualRoom },
  resumeMs: 60_000,
  awayMs: 2_000,
  faults: { cut: 1.5, hang: 0.5, kill: 0.5, freeze: 0.3, shut: 0, slow: 0, collapse: 0 },
}

/** Runs it: the same seed does the same. */
export async function simulate({ seed, ...scenario }: Scenario): Promise<Outcome> {
  await mintTokens(scenario.clients)
  const random = new Random(seed)
  using time = new VirtualTime(() => random.next())
  const times = { graceMs: 15_000, awayMs: scenario.awayMs, resumeMs: scenario.resumeMs }
  const machine = new Machine({ ...scenario, times, random })
  await time.pass(1_000)
  const crew = new Crew({ ...scenario, random, dial: dialler(() => machine.dial()) })
  crew.start(2)
  await time.pass(2_000)
  const { cut, hang, kill, freeze, shut, slow, collapse } = scenario.faults
  for (let i = 0; i < scenario.messages; i++) {
    crew.speak()
    if (random.next() < 0.05) crew.ask()
    if (random.next() < 0.02) void crew.roam()
    await time.pass(random.next() < 0.6 ? 0 : random.next() * 30)
    const worker = machine.workers.length > 0 ? random.pick(machine.workers) : undefined
    const line = worker && worker.lines.length > 0 ? random.pick(worker.lines) : undefined
    if (random.next() * 100 < cut) line?.cut()
    if (random.next() * 100 < hang) {
      line?.hang()
      const ms = random.next() * 8_000
      setTimeout(() => line?.move(), ms)
    }
    if (random.next() * 100 < shut) {
      line?.cut()
      machine.shut(4_000)
    }
    if (random.next() * 100 < slow) {
      line?.hang()
      setTimeout(() => line?.move(), random.next() * 1_500)
    }
    if (random.next() * 100 < collapse) machine.collapse()
    if (worker && random.next() * 100 < kill) machine.kill(worker)
    if (worker && random.next() * 100 < freeze) {
      worker.freeze()
      setTimeout(() => worker.thaw(), random.next() * 3_000)
    }
  }
  // Long enough for every line to be noticed dead, every session resumed and every send settled.
  for (let waited = 0; waited < 90 && (crew.open > 0 || crew.questions.open > 0 || waited < 15); waited++)
    await time.pass(1_000)
  const open = crew.open
  const found = compare(
    crew.members.map(({ ledger }) => ledger),
    crew.audience,
  )
  const sum = (of: 'resumed' | 'begun') => crew.members.reduce((total, member) => total + member[of], 0)
  // What was refused goes to those who can still have it when that is known, and so late.
  // What is for any member and repeated may go to one who has what was said after it. And only
  // what was lost may be late, or what came after something that was never appended: its worker looks for both.
  const mayBeLate = (await machine.holes()) > 0
  const across = crew.members.flatMap(({ across }) =>
    across
      .filter(({ sent, any, late }) => sent?.outcome === 'safe' && !(late && (any || mayBeLate)))
      .map(({ what }) => what),
  )
  const late = mayBeLate ? [] : found.late
  const outcome = { ...found, late, open, across, wrongs: crew.wrongs, resumed: sum('resumed'), begun: sum('begun') }
  const closing = crew.close()
  await time.pass(10_000)
  await closing
  machine.close()
  await time.pass(5_000)
  return outcome
}

/** Whether a run had nothing that must not be. */
export function isFlawless({ across, late, wrongs, open, ...found }: Outcome): boolean {
  return isClean({ ...found, late }) && across.length + late.length + wrongs.length + open === 0
}
