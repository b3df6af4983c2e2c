import { collectDefaultMetrics, Registry } from 'prom-client'

/** A registry of its own for one service, with Node's default metrics (memory, CPU, event loop, garbage collection). */
export function createRegistry(service: string): Registry {
  const registry = new Registry()
  registry.setDefaultLabels({ service })
  collectDefaultMetrics({ register: registry })
  return registry
}
