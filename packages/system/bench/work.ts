import type { PrivateJwk } from '@damon/trust/keys'

/** The languages that the load generator speaks. */
export type DialectName = 'damon' | 'nats' | 'socket-io' | 'json'

/** Where a server is reached, and how a client shows who it is. */
export interface Endpoint {
  dialect: DialectName
  /** Of each process that clients shall be spread over, in turn. */
  urls: string[]
  /** PEM, for `wss`. */
  ca?: string
  /** The private key of all clients of this run. */
  identity?: PrivateJwk
}

/** One client of a run: its name of constant length, the groups it is in, and what lets it in. */
export interface Pass {
  name: string
  groups: string[]
  token: string
}

/** Bytes of each message's and each reply's payload. */
export const payloadBytes = 128

/** What the load generator is to do. Times in ms. */
export type Work =
  /** Messages to groups: `senders` and `members` of each group; `window` messages at most in flight to each group. */
  | { kind: 'groups'; groups: number; senders: number; members: number; window: number; idle?: number }
  /**
   * Each client has at most `window` messages in flight to the next one; with `across`, to one that another process of
   * the server holds.
   */
  | { kind: 'direct'; clients: number; window: number; across?: boolean }
  /** As `direct`, but at a fixed rate per second over all clients, however slow the server is. */
  | { kind: 'paced'; clients: number; rate: number; across?: boolean }
  /**
   * Messages of so many bytes to a group at a fixed rate, to which one member never listens if it is `stuck`; `fillBytes`
   * go there before it counts.
   */
  | { kind: 'stuck-reader'; members: number; rate: number; bytes: number; fillBytes: number; stuck: boolean }
  /** Requests to a group, one after another, each until all its members have replied. */
  | { kind: 'request'; members: number }
  /** Authenticated connections, `abreast` at a time. */
  | { kind: 'connect'; connections: number; abreast: number }
  /** Connections that do nothing. */
  | { kind: 'idle'; connections: number }
  /** Some of very many connections talk, as `paced` clients; the others live only. Each process has an equal share of them. */
  | { kind: 'crowd'; connections: number; clients: number; rate: number; processes: number }
  /** Connections that do nothing, held by a process of their own until it ends. */
  | { kind: 'hold'; connections: number }
  /** Messages to a group at a fixed rate, however slow its members are. */
  | { kind: 'paced-group'; members: number; rate: number }

/** What the load generator gets. */
export interface Task {
  endpoint: Endpoint
  passes: Pass[]
  /** Processes of the server; their children count too. */
  pids: number[]
  work: Work
  warmMs: number
  measureMs: number
  /** The address on loopback that its connections come from; another one has ports of its own. */
  from?: string
}

/** What it measured; every figure has its unit in its name. */
export type Measured = Record<string, number>

/** The connections that come before those that `idle` and `connect` count, so that code is compiled and pools are filled. */
export const warmConnections = 200

/** The clients that a work needs, in the order in which its parts take them: members, senders, idle ones. */
export function clientsOf(work: Work): { name: string; groups: string[] }[] {
  const clients: { name: string; groups: string[] }[] = []
  const add = (count: number, ...groups: string[]) => {
    for (let i = 0; i < count; i++) clients.push({ name: `c${String(clients.length).padStart(5, '0')}`, groups })
  }
  switch (work.kind) {
    case 'groups':
      for (let group = 0; group < work.groups; group++) add(work.members, groupName(group))
      add(work.groups * work.senders)
      add(work.idle ?? 0)
      break
    case 'direct':
    case 'paced':
      add(work.clients)
      break
    case 'request':
    case 'stuck-reader':
      add(work.members, groupName(0))
      add(1)
      break
    case 'paced-group':
      add(work.members, groupName(0))
      add(1)
      break
    case 'crowd':
    case 'hold':
      add(work.connections)
      break
    case 'connect':
    case 'idle':
      add(work.connections + warmConnections)
      break
  }
  return clients
}

/** Names of groups have a constant length, so that messages have a constant size. */
export function groupName(index: number): string {
  return `g${String(index).padStart(3, '0')}`
}
