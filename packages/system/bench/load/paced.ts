import { groupName, type Measured, type Task, type Work } from '../work.ts'
import { Crowd } from './crowd.ts'
import { pairs } from './lanes.ts'
import { Meter } from './meter.ts'
import { Pace } from './pace.ts'

/** Messages that fill the buffers of one that does not read, sent at a time. */
const burst = 8

/** Direct messages at a fixed rate, from everybody in turn. */
export async function paced(task: Task, work: Extract<Work, { kind: 'paced' }>): Promise<Measured> {
  using crowd = new Crowd(task)
  const lines = await crowd.dial(task.passes)
  const pace = new Pace(crowd, work.rate)
  const lanes = pairs(lines, work.across ?? false).map(({ from, to }) => {
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
  await pace.run(Math.max(task.warmMs, (lanes.length * 1_000) / work.rate), send)
  const meter = new Meter(task.pids)
  const times = await pace.measure(task.measureMs, send)
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
