import { besidePeers, cpuPer, labels, type Question } from '../question.ts'

const figures = [cpuPer('delivery'), { name: 'deliveriesPerSecond', title: 'deliveries', unit: '1/s' }]

function fanOut(members: number): Question {
  return {
    name: members === 200 ? 'fan-out' : `fan-out-${members}`,
    title: `fan-out to ${members}, 64 in flight`,
    figures,
    cells: besidePeers({ kind: 'groups', groups: 1, senders: 1, members, window: 64 }),
    bars: [
      { figure: 'cpuUs', of: labels.damon, to: labels.nats, most: 0.4 },
      { figure: 'cpuUs', of: labels.damon, to: labels.socketIo, most: 0.05 },
    ],
  }
}

/** What does a message to many cost, when many are on their way? */
export const fanOutTo200 = fanOut(200)

/** And with five times as many receivers? */
export const fanOutTo1000 = fanOut(1_000)

/** What does it cost when nothing can be joined, because each message waits for the one before? */
export const fanOutSingle: Question = {
  name: 'fan-out-single',
  title: 'fan-out to 200, one message at a time',
  figures,
  cells: besidePeers({ kind: 'groups', groups: 1, senders: 1, members: 200, window: 1 }),
  bars: [{ figure: 'cpuUs', of: labels.damon, to: labels.nats, most: 0.95 }],
}

/** What does encryption add? */
export const fanOutTls: Question = {
  name: 'fan-out-tls',
  title: 'fan-out to 200, 64 in flight, TLS',
  figures,
  cells: besidePeers(
    { kind: 'groups', groups: 1, senders: 1, members: 200, window: 64 },
    { tls: true, without: ['socket-io'] },
  ),
  bars: [{ figure: 'cpuUs', of: labels.damon, to: labels.nats, most: 0.65 }],
}
