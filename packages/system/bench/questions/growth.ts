import { type Cell, cpuPer, type Question } from '../question.ts'

const fanOut = { kind: 'groups', groups: 1, senders: 1, window: 64 } as const
const server = { kind: 'damon' } as const

/** Does a delivery cost more when there are many receivers? */
export const growthReceivers: Question = {
  name: 'growth-receivers',
  title: 'fan-out, 64 in flight, to few and to many',
  figures: [cpuPer('delivery')],
  cells: [
    { label: '200 receivers', server, work: { ...fanOut, members: 200 }, rounds: 3 },
    { label: '5,000 receivers', server, work: { ...fanOut, members: 5_000 }, rounds: 3 },
  ],
  bars: [{ figure: 'cpuUs', of: '5,000 receivers', to: '200 receivers', most: 1.15 }],
}

/** Does a delivery cost more when many others are connected? */
export const growthNeighbours: Question = {
  name: 'growth-neighbours',
  title: 'fan-out to 200, 64 in flight, beside idle neighbours',
  figures: [cpuPer('delivery')],
  cells: [
    { label: '10 neighbours', server, work: { ...fanOut, members: 200, idle: 10 }, rounds: 2 },
    { label: '10,000 neighbours', server, work: { ...fanOut, members: 200, idle: 10_000 }, rounds: 2 },
  ],
  bars: [{ figure: 'cpuUs', of: '10,000 neighbours', to: '10 neighbours', most: 1.15 }],
}

const talk = { kind: 'crowd', clients: 200, rate: 2_000, processes: 1 } as const
const times = [
  { name: 'p99Ms', title: 'p99', unit: 'ms' },
  { name: 'p50Ms', title: 'p50', unit: 'ms' },
]

function crowd(connections: number, more: Partial<Cell> & { processes?: number } = {}): Cell {
  const { processes = 1, ...rest } = more
  const label = connections.toLocaleString('en')
  return { label, server, work: { ...talk, connections, processes }, rounds: 1, ...rest }
}

/** What do connections cost that only live, and what do those see of them who talk? */
export const connections: Question = {
  name: 'connections',
  title: 'direct among 200 of many clients, 2,000/s; the others only live',
  figures: [
    ...times,
    { name: 'rssMiB', title: 'server memory', unit: 'MiB' },
    { name: 'idleCores', title: 'server CPU while all only live', unit: 'cores' },
  ],
  cells: [
    crowd(1_000),
    crowd(5_000),
    crowd(10_000),
    crowd(20_000, { label: '20,000, two workers', server: { kind: 'damon', workers: 2 }, processes: 2 }),
  ],
  bars: [],
  plots: [
    {
      name: 'latency-by-connections',
      title: 'Latency against connections (2,000 direct messages/s; the last with two workers)',
      x: { title: 'connections', of: ({ work }) => ('connections' in work ? work.connections : 0) },
      unit: 'ms',
      curves: [
        { figure: 'p99Ms', title: 'p99' },
        { figure: 'p50Ms', title: 'p50' },
      ],
    },
    {
      name: 'memory-by-connections',
      title: 'Server memory against connections',
      x: { title: 'connections', of: ({ work }) => ('connections' in work ? work.connections : 0) },
      unit: 'MiB',
      curves: [{ figure: 'rssMiB', title: 'resident' }],
    },
  ],
}

/** Deliveries in each second, whatever the size of the group. */
const deliveries = 10_000

/** How long does a message take to the last of a group? */
export const groupSize: Question = {
  name: 'group-size',
  title: `messages to groups of different size, ${deliveries.toLocaleString('en')} deliveries/s`,
  figures: times,
  cells: [10, 100, 1_000, 5_000].map((members) => ({
    label: members.toLocaleString('en'),
    server,
    work: { kind: 'paced-group', members, rate: deliveries / members },
    rounds: members > 1_000 ? 1 : 2,
  })),
  bars: [],
  plots: [
    {
      name: 'latency-by-group-size',
      title: `Latency against group size (${deliveries.toLocaleString('en')} deliveries/s)`,
      x: { title: 'members', of: ({ work }) => ('members' in work ? work.members : 0) },
      unit: 'ms',
      curves: [
        { figure: 'p99Ms', title: 'p99' },
        { figure: 'p50Ms', title: 'p50' },
      ],
    },
  ],
}
