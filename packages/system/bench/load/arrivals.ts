import { setTimeout as sleep } from 'node:timers/promises'
import { familyOf, rssKiB } from '../processes.ts'
import { type Measured, type Task, type Work, warmConnections } from '../work.ts'
import { Crowd } from './crowd.ts'
import { Meter } from './meter.ts'
import { pacedPairs } from './paced.ts'

/** Looks at memory this often until it no longer falls, ms. */
const lookMs = 1_000
/** Memory that falls by less than this share in three looks is at rest. */
const restShare = 0.005
const longestRestMs = 30_000
/** V8 gives memory back only after it has been idle for a while. */
const leastRestMs = 10_000

/** Clients that come all at once: how many the server lets in each second, and what each costs. */
export async function arrivals(task: Task, work: Extract<Work, { kind: 'connect' }>): Promise<Measured> {
  using crowd = new Crowd(task)
  await crowd.dial(task.passes.slice(0, warmConnections), { abreast: work.abreast })
  const meter = new Meter(task.pids)
  await crowd.dial(task.passes.slice(warmConnections), { abreast: work.abreast })
  const measured = meter.read(work.connections)
  return { ...measured, connectionsPerSecond: (work.connections * 1_000) / measured.ms, repeats: crowd.repeats }
}

/** Clients that are there and do nothing but live: the server's memory for each, once it has come to rest. */
export async function idle(task: Task, work: Extract<Work, { kind: 'idle' }>): Promise<Measured> {
  using crowd = new Crowd(task)
  await crowd.dial(task.passes.slice(0, warmConnections))
  const server = familyOf(task.pids)
  const before = await atRest(crowd, server, 0)
  await crowd.dial(task.passes.slice(warmConnections))
  const meter = new Meter(task.pids)
  const after = await atRest(crowd, server, leastRestMs)
  const { repeats } = crowd
  return { ...meter.read(work.connections), rssKiB: (after - before) / work.connections, rssMiB: after / 1024, repeats }
}

/** Connections that do nothing, for as long as this process lives; `held` is told when all are there. */
export async function hold(task: Task, held: (measured: Measured) => void): Promise<never> {
  using crowd = new Crowd(task)
  await crowd.dial(task.passes)
  held({ connections: task.passes.length })
  return await crowd.broken
}

/** What some clients see who talk among very many that do not, and what these cost. */
export async function crowded(task: Task, work: Extract<Work, { kind: 'crowd' }>): Promise<Measured> {
  using crowd = new Crowd(task)
  await crowd.dial(task.passes.slice(work.clients))
  const talkers = await crowd.dial(task.passes.slice(0, work.clients))
  const rss = await atRest(crowd, familyOf(task.pids), leastRestMs)
  const resting = new Meter(task.pids)
  await crowd.or(sleep(task.measureMs + task.warmMs))
  const { serverCores } = resting.read(1)
  const times = await pacedPairs(task, crowd, talkers, work.rate, false)
  return { ...times, idleCores: serverCores ?? Number.NaN, rssMiB: rss / 1024, connections: work.connections }
}

/** KiB, when the rubbish of what was before is gone. */
async function atRest(crowd: Crowd, pids: number[], leastMs: number): Promise<number> {
  const looks = [rssKiB(pids)]
  for (const began = performance.now(); performance.now() - began < longestRestMs; ) {
    await crowd.or(sleep(lookMs))
    looks.push(rssKiB(pids))
    const earlier = looks.at(-4)
    const longEnough = performance.now() - began >= leastMs
    if (longEnough && earlier !== undefined && (looks.at(-1) ?? 0) > earlier * (1 - restShare)) break
  }
  return looks.at(-1) ?? Number.NaN
}
