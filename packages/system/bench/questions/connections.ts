import { besidePeers, type Cell, cpuPer, labels, type Question } from '../question.ts'

const storm = { kind: 'connect', connections: 2_000, abreast: 64 } as const
const stormFigures = [cpuPer('connection'), { name: 'connectionsPerSecond', title: 'connections', unit: '1/s' }]
const idle = { kind: 'idle', connections: 10_000 } as const
const idleFigures = [{ name: 'rssKiB', title: 'server memory per idle connection', unit: 'KiB' }]

/** Ten thousand connections say more than a few would in five rounds. */
const few = (cell: Cell): Cell => ({ ...cell, rounds: 1 })

/** How fast are clients let in that prove who they are, and what does each cost? */
export const connectStorm: Question = {
  name: 'connect',
  title: '2,000 clients authenticate, 64 at a time',
  figures: stormFigures,
  cells: besidePeers(storm).map(few),
  bars: [],
}

/** And with a TLS handshake each? */
export const connectStormTls: Question = {
  name: 'connect-tls',
  title: '2,000 clients authenticate, 64 at a time, TLS',
  figures: stormFigures,
  cells: besidePeers(storm, { tls: true, without: ['socket-io'] }).map(few),
  bars: [],
}

/** What does a connection hold that does nothing? */
export const idlePlain: Question = {
  name: 'idle',
  title: '10,000 idle connections',
  figures: idleFigures,
  cells: besidePeers(idle, { without: ['plain-ws'] }).map(few),
  bars: [
    { figure: 'rssKiB', of: labels.damon, to: labels.nats, most: 0.4 },
    { figure: 'rssKiB', of: labels.damon, most: 10 },
  ],
}

/** And with TLS? */
export const idleTls: Question = {
  name: 'idle-tls',
  title: '10,000 idle connections, TLS',
  figures: idleFigures,
  cells: besidePeers(idle, { tls: true, without: ['socket-io', 'plain-ws'] }).map(few),
  bars: [{ figure: 'rssKiB', of: labels.damon, to: labels.nats, most: 1.5 }],
}
