import { setTimeout as sleep } from 'node:timers/promises'
import { rssKiB } from '../processes.ts'
import type { Measured, Task, Work } from '../work.ts'
import { Crowd } from './crowd.ts'
import { directLanes, groupLanes } from './lanes.ts'
import { Meter } from './meter.ts'

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

  const deliveries = () => lanes.reduce((sum, lane) => sum + lane.deliveries, 0)
  const done = () => lanes.reduce((sum, lane) => sum + lane.done, 0)
  const before = { deliveries: deliveries(), done: done() }
  const meter = new Meter(task.pids)
  await crowd.or(sleep(task.measureMs))
  const count = deliveries() - before.deliveries
  const messages = done() - before.done
  const measured = meter.read(count)
  const rss = rssKiB(meter.pids)

  // Whoever lost a message or has one twice does not come to rest with the right counts.
  await crowd.or(Promise.race([Promise.all(lanes.map((lane) => lane.quiet())), tooLate()]))
  return {
    ...measured,
    deliveriesPerSecond: (count * 1_000) / measured.ms,
    messagesPerSecond: (messages * 1_000) / measured.ms,
    rssMiB: rss / 1024,
    deliveries: count,
    repeats: crowd.repeats,
  }
}

async function tooLate(): Promise<never> {
  await sleep(quietMs, undefined, { ref: false })
  throw new Error(`Not every message arrived within ${quietMs / 1_000} s.`)
}
