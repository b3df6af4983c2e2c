import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

/** A registry of its own for one service, with Node's default metrics (memory, CPU, event loop, garbage collection). */
export function createRegistry(service: string): Registry {
  const registry = new Registry()
  registry.setDefaultLabels({ service })
  collectDefaultMetrics({ register: registry })
  return registry
}

/** A value that goes up and down, in this registry and no other. */
export function gauge<Label extends string>(
  registry: Registry,
  options: { name: string; help: string; labelNames?: Label[] },
): Gauge<Label> {
  return new Gauge({ ...options, registers: [registry] })
}

/** A value that only grows, in this registry and no other; its name ends in `_total`. */
export function counter<Label extends string>(
  registry: Registry,
  options: { name: string; help: string; labelNames?: Label[] },
): Counter<Label> {
  return new Counter({ ...options, registers: [registry] })
}
