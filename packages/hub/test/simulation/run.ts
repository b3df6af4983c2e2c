import { type Comparison, compare, isClean } from '@damon/testkit/comparison'
import { Random } from '@damon/testkit/random'
import { Crew, mintTokens } from './crew.ts'
import { dialler } from './dialler.ts'
import { Machine } from './machine.ts'
import { Machines } from './redis/machines.ts'
import type { SimulatedRedisOptions } from './redis/server.ts'
import { onlyHubsSayLate } from './switches.ts'
import { VirtualTime } from './virtual-time.ts'
import type { Weather } from './worker.ts'

/** One run of the simulation. */
export interface Scenario {
  seed: number
  /** What the workers share: their primary's memory, or a Redis. */
  bus: 'embedded' | 'redis'
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
  faults: Record<Fault, number>
}

const faults = ['cut', 'hang', 'kill', 'freeze', 'shut', 'slow'] as const

/** Those of one bus or the other. */
const busFaults = ['collapse', 'bury', 'sever', 'stall', 'restart', 'empty', 'failover'] as const

export type Fault = (typeof faults)[number] | (typeof busFaults)[number]

/** No fault at all. */
export const none = Object.fromEntries([...faults, ...busFaults].map((name) => [name, 0])) as Record<Fault, number>

/** What came of it. */
export interface Outcome extends Comparison {
  resumed: number
  begun: number
  /** Messages whose fate nobody learnt in time. */
  open: number
  /** What came after a later message of the same sender to another destination, and did not say so. */
  across: string[]
  /** Of requests and records. */
  wrongs: string[]
}

const usualRoom = { kernelBytes: 262_144, outboxFrames: 4_096 }

export const usual: Omit<Scenario, 'seed'> = {
  bus: 'embedded',
  workers: 3,
  clients: 8,
  groups: 3,
  messages: 400,
  any: 0.1,
  weather: { clientMs: 6, busMs: 3, batchLoss: 0, batchLag: 0, hasty: false, careless: false, ...usualRoom },
  resumeMs: 60_000,
  awayMs: 2_000,
  faults: { ...none, cut: 1.5, hang: 0.5, kill: 0.5, freeze: 0.3 },
}

/** Runs it: the same seed does the same. `redis`: how the simulated one is to be, where it is one. */
export async function simulate({ seed, ...scenario }: Scenario, redis: SimulatedRedisOptions = {}): Promise<Outcome> {
  await mintTokens(scenario.clients)
  const random = new Random(seed)
  using time = new VirtualTime(() => random.next())
  // Where the bus loses nothing, a client's own word on what is late would hide what the hub does wrong.
  using _ = scenario.weather.batchLoss > 0 ? undefined : onlyHubsSayLate()
  const times = { graceMs: 15_000, awayMs: scenario.awayMs, resumeMs: scenario.resumeMs }
  const place = { ...scenario, times, random }
  const machine = scenario.bus === 'redis' ? new Machines({ ...place, redis }) : new Machine(place)
  const { crowd } = machine
  const busFaults: Partial<Record<Fault, () => void>> = machine.faults
  await time.pass(1_000)
  const crew = new Crew({ ...scenario, random, dial: dialler(() => crowd.dial()) })
  crew.start(2)
  await time.pass(2_000)
  const { cut, hang, kill, freeze, shut, slow } = scenario.faults
  for (let i = 0; i < scenario.messages; i++) {
    crew.speak()
    if (random.next() < 0.05) crew.ask()
    if (random.next() < 0.02) void crew.roam()
    await time.pass(random.next() < 0.6 ? 0 : random.next() * 30)
    const worker = crowd.workers.length > 0 ? random.pick(crowd.workers) : undefined
    const line = worker && worker.lines.length > 0 ? random.pick(worker.lines) : undefined
    if (random.next() * 100 < cut) line?.cut()
    if (random.next() * 100 < hang) {
      line?.hang()
      const ms = random.next() * 8_000
      setTimeout(() => line?.move(), ms)
    }
    if (random.next() * 100 < shut) {
      line?.cut()
      crowd.shut(4_000)
    }
    if (random.next() * 100 < slow) {
      line?.hang()
      setTimeout(() => line?.move(), random.next() * 1_500)
    }
    for (const [name, strike] of Object.entries(busFaults))
      if (random.next() * 100 < scenario.faults[name as Fault]) strike()
    if (worker && random.next() * 100 < kill) crowd.kill(worker)
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
  // What was refused goes to those who can still have it when that is known, and so late; and what is for any member and
  // repeated may go to one who has what was said after it.
  const across = crew.members.flatMap(({ across }) =>
    across.filter(({ sent, any }) => sent?.outcome === 'safe' && !any).map(({ what }) => what),
  )
  const outcome = { ...found, open, across, wrongs: crew.wrongs, resumed: sum('resumed'), begun: sum('begun') }
  const closing = crew.close()
  await time.pass(10_000)
  await closing
  machine.close()
  await time.pass(5_000)
  return outcome
}

/** Whether a run had nothing that must not be. */
export function isFlawless({ across, wrongs, open, ...found }: Outcome): boolean {
  return isClean(found) && across.length + wrongs.length + open === 0
}
