import { type Cell, cpuPer, labels, type Question } from '../question.ts'
import type { Work } from '../work.ts'

const lines = {
  redis: 'damon x2 + Redis',
  embedded: 'damon x2, embedded bus',
  socketIo: 'Socket.IO x2 + Redis',
  nats: labels.nats,
} as const

function cells(work: Work): Cell[] {
  const apart: Work = work.kind === 'direct' || work.kind === 'paced' ? { ...work, across: true } : work
  return [
    { label: lines.redis, server: { kind: 'damon', workers: 2, redis: true }, work: apart },
    { label: lines.embedded, server: { kind: 'damon', workers: 2 }, work: apart },
    { label: lines.socketIo, server: { kind: 'socket-io', workers: 2, redis: true }, work: apart, rounds: 2 },
    { label: lines.nats, server: { kind: 'nats' }, work },
  ]
}

const bars = [
  // The embedded bus is there to be simpler, not to be slower.
  { figure: 'cpuUs', of: lines.embedded, to: lines.redis, most: 1 },
]

/** What does fan-out cost when the receivers sit in two processes? */
export const twoWorkersFanOut: Question = {
  name: 'two-workers-fan-out',
  title: 'fan-out to 200 over two processes, 64 in flight',
  figures: [cpuPer('delivery'), { name: 'deliveriesPerSecond', title: 'deliveries', unit: '1/s' }],
  cells: cells({ kind: 'groups', groups: 1, senders: 1, members: 200, window: 64 }),
  bars: [
    { figure: 'cpuUs', of: lines.redis, to: lines.socketIo, most: 0.05 },
    { figure: 'cpuUs', of: lines.redis, to: lines.nats, most: 0.5 },
    ...bars,
  ],
}

/** What does a message to one client cost when the other process holds it? */
export const twoWorkersDirect: Question = {
  name: 'two-workers-direct',
  title: 'direct among 200 clients, each to one of the other process, 16 in flight from each',
  figures: [cpuPer('delivery'), { name: 'deliveriesPerSecond', title: 'deliveries', unit: '1/s' }],
  cells: cells({ kind: 'direct', clients: 200, window: 16 }),
  bars: [{ figure: 'cpuUs', of: lines.redis, to: lines.socketIo, most: 0.1 }, ...bars],
}

/** How long does that take? */
export const twoWorkersLatency: Question = {
  name: 'two-workers-latency',
  title: 'direct among 200 clients, each to one of the other process, 2,000/s',
  figures: [
    { name: 'p50Ms', title: 'p50', unit: 'ms' },
    { name: 'p99Ms', title: 'p99', unit: 'ms' },
    { name: 'p999Ms', title: 'p99.9', unit: 'ms' },
  ],
  cells: cells({ kind: 'paced', clients: 200, rate: 2_000 }).map((cell) => ({ ...cell, rounds: 2 })),
  bars: [],
}
