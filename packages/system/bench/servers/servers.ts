import type { House } from '../../src/house.ts'
import { startDamon } from './damon.ts'
import { startNats } from './nats.ts'
import { startPeer } from './peer.ts'
import type { BenchServer, ServerPlan } from './server.ts'

/** Starts a server with the certificates of the house. */
export function startServer(plan: ServerPlan, house: House): Promise<BenchServer> {
  if (plan.kind === 'damon') return startDamon(plan, house)
  if (plan.kind === 'nats') return startNats(plan, house)
  return startPeer(plan, house)
}
