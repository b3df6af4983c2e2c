import { besidePeers, cpuPer, labels, type Question } from '../question.ts'

/** What does it cost to ask twenty and to have all their answers? */
export const request: Question = {
  name: 'request',
  title: 'request to 20 members until all have replied, one at a time',
  figures: [cpuPer('request'), { name: 'meanMs', title: 'time to the last reply', unit: 'ms' }],
  cells: besidePeers({ kind: 'request', members: 20 }),
  bars: [{ figure: 'cpuUs', of: labels.damon, to: labels.nats, most: 0.75 }],
}
