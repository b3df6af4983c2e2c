import { setTimeout as sleep } from 'node:timers/promises'
import { type Comparison, isClean } from '@damon/testkit/comparison'
import type { Ledger } from '@damon/testkit/ledger'
import type { Random } from '@damon/testkit/random'
import type { Fault } from './fault.ts'
import { Stage, type StageShape } from './stage.ts'

/** One line of the table. */
export interface Row {
  fault: string
  title: string
  seconds: number
  messages: number
  delivered: number
  /** Frames that the hub found missing on its bus and brought from the log. */
  repaired: number
  /** Sessions that went on, on whatever worker. */
  resumed: number
  toldLost: number
  /** Sent, and their senders know that the outcome is not known. */
  unknown: number
  requests: number
  unexplained: number
  duplicates: number
  /** Longest time without a message, ms: of all clients but the worst hundredth, and of the worst. */
  interruption: { p99: number; max: number }
  ratio?: number
  /** From the end of the fault until every record is live in every watch, ms. */
  recordsMs: number
  /** Everything that must not be, in words; empty when the line is good. */
  wrongs: string[]
  /** What the hubs said last, where something is wrong. */
  log?: string[]
}

/** Lines of each hub that are kept of a fault that went wrong. */
const loggedLines = 300

/** Time of talk before and after a fault, ms. */
const calmMs = { before: 1_000, after: 2_000 }
/** How often records are looked at, ms. */
const recordsLookMs = 20
/** How long what is late may take. */
const settleMs = 20_000

/** Makes things go wrong, one after another, on stages that are built once. */
export class Run implements AsyncDisposable {
  readonly #random: Random
  readonly #stages = new Map<StageShape, Stage>()

  constructor(random: Random) {
    this.#random = random
  }

  /** Lets one fault strike, and compares the ledgers. */
  async strike(fault: Fault): Promise<Row> {
    const stage = await this.#stage(fault.stage)
    const { crew } = stage
    await stage.whole()
    crew.turn()
    const began = performance.now()
    const repairedBefore = await repaired(stage)
    crew.talk(fault.traffic)
    let ratio: number | undefined
    let until = 0
    try {
      await sleep(calmMs.before)
      const from = performance.now()
      ratio = (await fault.strike(stage, this.#random))?.ratio
      await stage.whole()
      const ended = performance.now()
      const recordsMs = recordsSettled(stage).then(() => performance.now() - ended)
      await sleep(calmMs.after)
      until = performance.now()
      await crew.hush()
      const comparison = await settled(stage)
      const spread = crew.interruptions(from, until).sort((a, b) => a - b)
      const row = describe(fault, stage, comparison, spread)
      row.seconds = (until - began) / 1000
      // A worker that is gone has taken its count along.
      row.repaired = Math.max((await repaired(stage)) - repairedBefore, 0)
      if (ratio !== undefined) row.ratio = ratio
      row.recordsMs = Math.round(await recordsMs)
      row.wrongs.push(...(await recordsSettled(stage)), ...missedBars(fault, row))
      if (row.wrongs.length > 0)
        row.log = stage.machines.flatMap(({ output }) => output.split('\n').slice(-loggedLines))
      return row
    } catch (error) {
      // What is still under way cannot be judged; and the next fault shall begin in a good state.
      const row = describe(fault, stage, nothing, [])
      row.wrongs.push(`it could not be brought to its end: ${(error as Error).message}`)
      await this.#close(fault.stage)
      return row
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const shape of [...this.#stages.keys()]) await this.#close(shape)
  }

  async #stage(shape: StageShape): Promise<Stage> {
    const known = this.#stages.get(shape)
    if (known) return known
    const stage = await Stage.build(shape, this.#random)
    this.#stages.set(shape, stage)
    return stage
  }

  async #close(shape: StageShape): Promise<void> {
    const stage = this.#stages.get(shape)
    this.#stages.delete(shape)
    await stage?.[Symbol.asyncDispose]()
  }
}

const nothing: Comparison = {
  ...{ messages: 0, safe: 0, delivered: 0, toldLost: 0 },
  ...{ unexplained: [], duplicates: [], disordered: [], late: [], impossible: [] },
}

/** The comparison, once nothing is missing any more or enough time has passed. */
async function settled({ crew }: Stage): Promise<Comparison> {
  const deadline = performance.now() + settleMs
  for (;;) {
    const comparison = crew.compare()
    if (comparison.unexplained.length === 0 || performance.now() > deadline) {
      // What would come twice comes now.
      await sleep(500)
      return crew.compare()
    }
    await sleep(250)
  }
}

async function recordsSettled({ crew }: Stage): Promise<string[]> {
  const deadline = performance.now() + settleMs
  for (;;) {
    const wrongs = crew.recordWrongs()
    if (wrongs.length === 0 || performance.now() > deadline) return wrongs
    await sleep(recordsLookMs)
  }
}

function describe(fault: Fault, { crew }: Stage, comparison: Comparison, interruptions: number[]): Row {
  const { messages, delivered, toldLost, unexplained, duplicates, disordered, late, impossible } = comparison
  const unknown = crew.members.flatMap(({ ledger }) => [...ledger.sent.values()].flat()).filter(isUnknown).length
  const wrongs = [
    ...list('unexplained', unexplained),
    ...(unexplained.length > 0 ? crew.members.flatMap(({ ledger }) => told(ledger, unexplained)) : []),
    ...list('twice', duplicates),
    ...list('out of order', disordered),
    // Where workers are connected by sockets, nothing is lost on the way that could come late.
    ...(fault.stage.bus === 'cluster' ? list('late', late) : []),
    ...list('impossible', impossible),
    ...list('request', crew.questionWrongs()),
  ]
  if (!isClean(comparison) && wrongs.length === 0) wrongs.push('the ledgers are not clean')
  return {
    fault: fault.name,
    title: fault.title,
    seconds: 0,
    messages,
    delivered,
    repaired: 0,
    recordsMs: 0,
    resumed: sum(crew.members.map(({ resumed }) => resumed)),
    toldLost,
    unknown,
    requests: crew.questions.size,
    unexplained: unexplained.length + disordered.length + impossible.length,
    duplicates: duplicates.length,
    interruption: {
      p99: Math.round(interruptions[Math.ceil(interruptions.length * 0.99) - 1] ?? 0),
      max: Math.round(interruptions.at(-1) ?? 0),
    },
    wrongs,
  }
}

/** What a receiver that misses something was told, for whoever looks for the cause. */
function told({ name, gaps, resets }: Ledger, unexplained: readonly string[]): string[] {
  if (!unexplained.some((wrong) => wrong.includes(` at ${name},`))) return []
  const words = [
    ...gaps.slice(0, 20).map(({ destination, count, at }) => `${count} of ${destination} at ${Math.round(at)}`),
    ...resets.map(({ from, until }) => `its session ended, ${Math.round(from)} to ${Math.round(until)}`),
  ]
  return [`${name} was told: ${words.join('; ') || 'nothing'}`]
}

function isUnknown({ outcome }: { outcome: string }): boolean {
  return outcome === 'perhaps'
}

function list(kind: string, wrongs: readonly string[]): string[] {
  const shown = wrongs.slice(0, 10).map((wrong) => `${kind}: ${wrong}`)
  if (wrongs.length > shown.length) shown.push(`${kind}: and ${wrongs.length - shown.length} more`)
  return shown
}

function missedBars({ bars = {} }: Fault, row: Row): string[] {
  const missed: string[] = []
  const most = (what: string, is: number | undefined, bar: number | undefined) => {
    if (bar !== undefined && (is === undefined || is > bar)) missed.push(`${what} is ${is}, at most ${bar}`)
  }
  most('told lost', row.toldLost, bars.toldLost)
  most('interruption (p99, ms)', row.interruption.p99, bars.interruptionMs)
  most('ratio', row.ratio, bars.ratio)
  return missed
}

/** What the hubs have repaired in all their processes that live. */
async function repaired({ machines }: Stage): Promise<number> {
  const counts = await Promise.all(
    machines.map(async ({ service }) => {
      const text = await fetch(`${service.ready.metrics}/metrics`).then((reply) => reply.text())
      return sum([...text.matchAll(/^damon_hub_\w*\{.*="repaired".*\} (\d+)$/gm)].map(([, count]) => Number(count)))
    }),
  )
  return sum(counts)
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
