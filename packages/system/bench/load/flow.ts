import { setTimeout as sleep } from 'node:timers/promises'
import { cpuMs, familyOf, rssKiB } from '../processes.ts'
import type { Measured, Task, Work } from '../work.ts'
import { Crowd } from './crowd.ts'
import { directLanes, groupLanes } from './lanes.ts'

/** How long what is in flight may take to arrive, ms. */
const quietMs = 30_000

/** As many messages as the server takes, with a bounded number in flight: its processor time for each delivery. */
export async function flow(task: Task, work: Extract<Work, { kind: 'groups' | 'direct' }>): Promise<Measured> {
  using crowd = new Crowd(task)
  const lines = await crowd.dial(task.passes)
  const lanes = work.kind === 'groups' ? groupLanes(crowd, lines, work) : directLanes(crowd, lines, work)
  // The first message of each lane tells its size.
  for (const lane of lanes) await crowd.or(Promise.race([lane.once(), tooLate()]))
  for (const lane of lanes) lane.start()
  await crowd.or(sleep(task.warmMs))

  const server = familyOf(task.pids)
  const look = () => ({
    at: performance.now(),
    cpu: cpuMs(server),
    own: cpuMs([process.pid]),
    deliveries: lanes.reduce((sum, lane) => sum + lane.deliveries, 0),
    done: lanes.reduce((sum, lane) => sum + lane.done, 0),
  })
  const before = look()
  await crowd.or(sleep(task.measureMs))
  const after = look()
  const rss = rssKiB(server)

  // Whoever lost a message or has one twice does not come to rest with the right counts.
  await crowd.or(Promise.race([Promise.all(lanes.map((lane) => lane.quiet())), tooLate()]))
  const ms = after.at - before.at
  const deliveries = after.deliveries - before.deliveries
  return {
    cpuUs: ((after.cpu - before.cpu) * 1_000) / deliveries,
    deliveriesPerSecond: (deliveries * 1_000) / ms,
    messagesPerSecond: ((after.done - before.done) * 1_000) / ms,
    serverCores: (after.cpu - before.cpu) / ms,
    loadCores: (after.own - before.own) / ms,
    rssMiB: rss / 1024,
    receivers: work.kind === 'groups' ? work.groups * work.members : lanes.length,
  }
}

async function tooLate(): Promise<never> {
  await sleep(quietMs, undefined, { ref: false })
  throw new Error(`Not every message arrived within ${quietMs / 1_000} s.`)
}
