import { groupName, type Measured, type Task, type Work } from '../work.ts'
import { Crowd } from './crowd.ts'
import { Meter } from './meter.ts'

/** Requests to a group, one after another: the server's processor time until all members' replies are there. */
export async function requests(task: Task, work: Extract<Work, { kind: 'request' }>): Promise<Measured> {
  using crowd = new Crowd(task)
  const lines = await crowd.dial(task.passes, { reading: true })
  const asker = lines[work.members]
  if (!asker) throw new Error('Nobody asks.')
  for (const line of lines.slice(0, work.members)) crowd.dialect.answer(line)
  const ask = await crowd.or(crowd.dialect.request(asker, groupName(0), work.members))
  const askFor = async (ms: number) => {
    let count = 0
    for (const until = performance.now() + ms; performance.now() < until; count++) await crowd.or(ask())
    return count
  }
  await askFor(task.warmMs)
  const meter = new Meter(task.pids)
  const count = await askFor(task.measureMs)
  const measured = meter.read(count)
  return { ...measured, meanMs: measured.ms / count, requestsPerSecond: (count * 1_000) / measured.ms, requests: count }
}
