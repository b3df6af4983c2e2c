import { cpuPer, type Question } from '../question.ts'

const fanOut = { kind: 'groups', groups: 1, senders: 1, window: 64 } as const
const server = { kind: 'damon' } as const

/** Does a delivery cost more when there are many receivers? */
export const growthReceivers: Question = {
  name: 'growth-receivers',
  title: 'fan-out, 64 in flight, to few and to many',
  figures: [cpuPer('delivery')],
  cells: [
    { label: '200 receivers', server, work: { ...fanOut, members: 200 } },
    { label: '5,000 receivers', server, work: { ...fanOut, members: 5_000 } },
  ],
  bars: [{ figure: 'cpuUs', of: '5,000 receivers', to: '200 receivers', most: 1.15 }],
}

/** Does a delivery cost more when many others are connected? */
export const growthNeighbours: Question = {
  name: 'growth-neighbours',
  title: 'fan-out to 200, 64 in flight, beside idle neighbours',
  figures: [cpuPer('delivery')],
  cells: [
    { label: '10 neighbours', server, work: { ...fanOut, members: 200, idle: 10 } },
    { label: '10,000 neighbours', server, work: { ...fanOut, members: 200, idle: 10_000 } },
  ],
  bars: [{ figure: 'cpuUs', of: '10,000 neighbours', to: '10 neighbours', most: 1.15 }],
}
