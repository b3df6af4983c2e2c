import type { Endpoint, Pass } from '../work.ts'

/** Which server, and how it is set up. */
export interface ServerPlan {
  kind: 'damon' | 'nats' | 'socket-io' | 'plain-ws'
  tls?: boolean
  /** Processes that serve, where it is more than one. */
  workers?: number
  /** A Redis between them, whose processor time counts as the server's. */
  redis?: boolean
}

/** A server that runs. */
export interface BenchServer extends AsyncDisposable {
  readonly endpoint: Endpoint
  /** Its processes, without their children. */
  readonly pids: number[]
  /** What its clients connect with. */
  enrol(clients: readonly { name: string; groups: string[] }[]): Promise<Pass[]>
}
