import type { ServerPlan } from './servers/server.ts'
import type { Work } from './work.ts'

/** One server doing one work: a line of the table. */
export interface Cell {
  /** Unique in its question. */
  label: string
  server: ServerPlan
  work: Work
  /** In so many rounds at most when all questions are asked at once: where little depends on it, or it takes long. */
  rounds?: number
}

/** A picture of a question's answer. */
export interface Plot {
  /** Name of its file, without `.svg`. */
  name: string
  title: string
  /** What the lines differ in, as a number, and what that is. */
  x: { title: string; of: (cell: Cell) => number }
  /** The unit of its curves. */
  unit: string
  /** Names of figures. */
  curves: { figure: string; title: string }[]
}

/** A figure of the table; `name` is that of a measured figure. */
export interface Figure {
  name: string
  title: string
  unit: string
}

/** What a line may be at most: so many times another line of the same round, or, without another, so much. */
export interface Bar {
  figure: string
  of: string
  to?: string
  most: number
}

/** What one run of the benchmark answers. */
export interface Question {
  /** For the command line. */
  name: string
  title: string
  /** The first one is what the question is about. */
  figures: Figure[]
  cells: Cell[]
  bars: Bar[]
  plots?: Plot[]
}

/** The lines of most tables. */
export const labels = {
  damon: 'damon',
  nats: 'nats-server',
  socketIo: 'Socket.IO',
  plainWs: 'ws + JSON',
} as const

/** The same work for our hub and its peers, each in one process. */
export function besidePeers(work: Work, options: { tls?: boolean; without?: ServerPlan['kind'][] } = {}): Cell[] {
  const { tls = false, without = [] } = options
  const cells: Cell[] = [
    { label: labels.damon, server: { kind: 'damon', tls }, work },
    { label: labels.nats, server: { kind: 'nats', tls }, work },
    { label: labels.socketIo, server: { kind: 'socket-io', tls }, work, rounds: 2 },
    { label: labels.plainWs, server: { kind: 'plain-ws', tls }, work, rounds: 1 },
  ]
  return cells.filter(({ server }) => !without.includes(server.kind))
}

/** Server CPU for each of something. */
export function cpuPer(thing: string): Figure {
  return { name: 'cpuUs', title: `server CPU per ${thing}`, unit: 'us' }
}
