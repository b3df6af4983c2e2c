import { setTimeout as sleep } from 'node:timers/promises'
import { cpuMs, familyOf } from '../processes.ts'
import type { Measured, Task, Work } from '../work.ts'
import { Crowd } from './crowd.ts'
import { pairs } from './lanes.ts'

/** How long the last messages may take, ms. */
const quietMs = 10_000

/**
 * Direct messages at a fixed rate. Each one's time counts from the instant at which it was due, so that a server that
 * stalls is charged for all that had to wait.
 */
export async function paced(task: Task, work: Extract<Work, { kind: 'paced' }>): Promise<Measured> {
  using crowd = new Crowd(task)
  const lines = await crowd.dial(task.passes)
  const times: number[] = []
  let measuring = false
  let open = 0
  const lanes = pairs(lines, work.across ?? false).map(({ from, to }) => {
    const message = crowd.dialect.message(from, { client: to.pass.name })
    const due: number[] = []
    to.hear = (messages) => {
      const now = performance.now()
      for (const at of due.splice(0, messages)) if (measuring) times.push(now - at)
      open -= messages
    }
    return (at: number) => {
      due.push(at)
      open++
      from.write(message(1))
    }
  })
  let turn = 0
  const send = async (ms: number) => {
    const began = performance.now()
    let sent = 0
    for (let now = began; now < began + ms; now = performance.now()) {
      for (const until = ((now - began) * work.rate) / 1_000; sent < until; sent++)
        lanes[turn++ % lanes.length]?.(began + (sent * 1_000) / work.rate)
      // Without rest: a timer would be late by more than what is measured.
      await new Promise(setImmediate)
    }
  }
  // Every connection is used once before it counts.
  await crowd.or(send(Math.max(task.warmMs, (lanes.length * 1_000) / work.rate)))
  await settle(crowd, () => open)
  const server = familyOf(task.pids)
  const before = { cpu: cpuMs(server), at: performance.now() }
  measuring = true
  await crowd.or(send(task.measureMs))
  await settle(crowd, () => open)
  const after = { cpu: cpuMs(server), at: performance.now() }
  times.sort((a, b) => a - b)
  const percentile = (share: number) =>
    times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? Number.NaN
  return {
    p50Ms: percentile(0.5),
    p99Ms: percentile(0.99),
    p999Ms: percentile(0.999),
    messages: times.length,
    cpuUs: ((after.cpu - before.cpu) * 1_000) / times.length,
    serverCores: (after.cpu - before.cpu) / (after.at - before.at),
  }
}

async function settle(crowd: Crowd, open: () => number): Promise<void> {
  for (const began = performance.now(); open() > 0; ) {
    if (performance.now() - began > quietMs) throw new Error(`${open()} messages did not arrive.`)
    await crowd.or(sleep(5))
  }
}
