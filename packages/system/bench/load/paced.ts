import { groupName, type Measured, type Task, type Work } from '../work.ts'
import { Crowd } from './crowd.ts'
import { pairs } from './lanes.ts'
import type { Line } from './line.ts'
import { Meter } from './meter.ts'
import { Pace } from './pace.ts'

/** Messages that fill the buffers of one that does not read, sent at a time. */
const burst = 8

/** Direct messages at a fixed rate, from everybody in turn. */
export async function paced(task: Task, work: Extract<Work, { kind: 'paced' }>): Promise<Measured> {
  using crowd = new Crowd(task)
  const lines = await crowd.dial(task.passes)
  return await pacedPairs(task, crowd, lines, work.rate, work.across ?? false)
}

/** Direct messages at a fixed rate, from everybody of these in turn. */
export async function pacedPairs(
  task: Task,
  crowd: Crowd,
  lines: Line[],
  rate: number,
  across: boolean,
): Promise<Measured> {
  const pace = new Pace(crowd, rate)
  const lanes = pairs(lines, across).map(({ from, to }) => {
    const message = crowd.dialect.message(from, { client: to.pass.name })
    const receiver = pace.receiver()
    to.hear = receiver.arrived
    return (due: number) => {
      receiver.sent(due)
      from.write(message(1))
    }
  })
  const send = (number: number, due: number) => lanes[number % lanes.length]?.(due)
  // Every connection is used once before it counts.
  await pace.run(Math.max(task.warmMs, (lanes.length * 1_000) / rate), send)
  const meter = new Meter(task.pids)
  const times = await pace.measure(task.measureMs, send)
  return { ...meter.read(times.deliveries), ...times }
}

/** How long messages to a group take to each of its members. */
export async function pacedGroup(task: Task, work: Extract<Work, { kind: 'paced-group' }>): Promise<Measured> {
  using crowd = new Crowd(task)
  const members = await crowd.dial(task.passes)
  const sender = members.pop()
  if (!sender) throw new Error('There is nobody to send.')
  const pace = new Pace(crowd, work.rate)
  const receivers = members.map((line) => {
    const receiver = pace.receiver()
    line.hear = receiver.arrived
    return receiver
  })
  const message = crowd.dialect.message(sender, { group: groupName(0) })
  const send = (_: number, due: number) => {
    for (const receiver of receivers) receiver.sent(due)
    sender.write(message(1))
  }
  await pace.run(Math.max(task.warmMs, 2_000 / work.rate), send)
  const meter = new Meter(task.pids)
  // A large group gets few messages in a short time, but each of them is a delivery to all.
  const times = await pace.measure(Math.max(task.measureMs, 10_000 / work.rate), send)
  return { ...meter.read(times.deliveries), ...times }
}

/** What the members of a group see of one of them that no longer reads. */
export async function stuckReader(task: Task, work: Extract<Work, { kind: 'stuck-reader' }>): Promise<Measured> {
  using crowd = new Crowd(task)
  const lines = await crowd.dial(task.passes)
  const [stuck, ...others] = lines
  const sender = others.pop()
  if (!stuck || !sender) throw new Error('There is nobody to be stuck or to send.')
  const pace = new Pace(crowd, work.rate)
  const receivers = (work.stuck ? others : [stuck, ...others]).map((line) => {
    const receiver = pace.receiver()
    line.hear = receiver.arrived
    return receiver
  })
  if (work.stuck) stuck.pause()
  const message = crowd.dialect.message(sender, { group: groupName(0) }, work.bytes)
  const send = (_: number, due: number) => {
    for (const receiver of receivers) receiver.sent(due)
    sender.write(message(1))
  }
  // As fast as the others read.
  for (let sent = 0; sent * work.bytes < work.fillBytes; sent++) {
    send(sent, performance.now())
    if (sent % burst === 0) await pace.quiet()
  }
  await pace.run(task.warmMs, send)
  const meter = new Meter(task.pids)
  const times = await pace.measure(task.measureMs, send)
  return { ...meter.read(times.deliveries), ...times }
}
