import { besidePeers, cpuPer, labels, type Question } from '../question.ts'

/** What does it cost when many send to several smaller groups at once? */
export const manyToMany: Question = {
  name: 'many-to-many',
  title: '50 senders, 10 groups of 20, 4 in flight from each sender',
  figures: [cpuPer('delivery'), { name: 'deliveriesPerSecond', title: 'deliveries', unit: '1/s' }],
  cells: besidePeers({ kind: 'groups', groups: 10, senders: 5, members: 20, window: 20 }),
  bars: [{ figure: 'cpuUs', of: labels.damon, to: labels.nats, most: 0.75 }],
}
