import type { House } from '../../src/house.ts'
import type { Endpoint, Pass } from '../work.ts'
import { startDamon } from './damon.ts'
import { startNats } from './nats.ts'
import { startPeer } from './peer.ts'

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

/** Starts a server with the certificates of the house. */
export function startServer(plan: ServerPlan, house: House): Promise<BenchServer> {
  if (plan.kind === 'damon') return startDamon(plan, house)
  if (plan.kind === 'nats') return startNats(plan, house)
  return startPeer(plan, house)
}
