import { besidePeers, cpuPer, labels, type Question } from '../question.ts'

/** What does a message to one client cost? */
export const direct: Question = {
  name: 'direct',
  title: 'direct among 200 clients, 16 in flight from each',
  figures: [cpuPer('delivery'), { name: 'deliveriesPerSecond', title: 'deliveries', unit: '1/s' }],
  cells: besidePeers({ kind: 'direct', clients: 200, window: 16 }),
  bars: [{ figure: 'cpuUs', of: labels.damon, to: labels.nats, most: 1.1 }],
}

/** How long does it take, when the server has time? */
export const latency: Question = {
  name: 'latency',
  title: 'direct among 200 clients, 2,000/s',
  figures: [
    { name: 'p50Ms', title: 'p50', unit: 'ms' },
    { name: 'p99Ms', title: 'p99', unit: 'ms' },
    { name: 'p999Ms', title: 'p99.9', unit: 'ms' },
  ],
  cells: besidePeers({ kind: 'paced', clients: 200, rate: 2_000 }),
  bars: [{ figure: 'p50Ms', of: labels.damon, to: labels.nats, most: 1.4 }],
}
