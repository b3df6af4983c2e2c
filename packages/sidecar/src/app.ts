import { join } from 'node:path'
import type { Checks } from '@damon/runtime/health'
import type { Registry } from 'prom-client'
import type { AudioNode } from './audio-node.ts'
import { type Care, type CareParts, careFor } from './care.ts'
import type { SidecarConfig } from './config.ts'
import { readOutcomes } from './evidence/outcomes.ts'
import { nodeMemoryFile } from './node-memory.ts'
import { nodeMetrics } from './node-metrics.ts'
import type { NodeSettings } from './node-settings.ts'
import { flawsOf } from './pool.ts'
import type { Whereabouts } from './whereabouts.ts'

/** How often the address of the machine is looked up, and how soon again while it is not known, ms. */
const whereaboutsMs = { known: 60_000, unknown: 2_000 }

/** What the sidecar works with: the hub as seen through its ports, and its own life. */
export interface SidecarParts extends Omit<CareParts, 'hosts' | 'memory' | 'sources' | 'stop'> {
  checks: Checks
  registry: Registry
  /** Where the machine is, for nodes without a configured address; undefined: as in the URL of the Lavalink. */
  whereabouts?: Whereabouts | undefined
  /** What is particular to one node. */
  extras?: (settings: NodeSettings) => Pick<CareParts, 'sources' | 'stop'>
}

/** A running sidecar. */
export interface Sidecar extends AsyncDisposable {
  readonly nodes: ReadonlyMap<string, AudioNode>
  /** Takes a bot's report of outcomes; one that is none, or is about another's node, is ignored. */
  report(value: unknown): void
}

/** Starts to look after these Lavalinks; disposing the sidecar drains and retires them all. */
export async function startSidecar(
  settings: readonly NodeSettings[],
  config: SidecarConfig,
  parts: SidecarParts,
): Promise<Sidecar> {
  const { whereabouts, checks, log, registry, extras, clock } = parts
  const measure = nodeMetrics(registry)
  const hosts = ({ url }: NodeSettings) => (whereabouts ? whereabouts.hosts() : [url.hostname])
  const cares = new Map<string, Care>()
  for (const one of settings) {
    for (const flaw of one.pool ? flawsOf(one.pool) : []) log.warn({ node: one.id }, flaw)
    const memory = config.SIDECAR_STATE_DIR && nodeMemoryFile(join(config.SIDECAR_STATE_DIR, `${one.id}.json`))
    const care = await careFor(one, config, { ...parts, ...extras?.(one), hosts, ...(memory && { memory }) })
    measure(one.id, care.node)
    cares.set(one.id, care)
    const name = settings.length === 1 ? '' : ` ${one.id}`
    checks.set(`lavalink${name}`, () => sayHealth(care.node))
    checks.set(`announcement${name}`, () => care.problem)
    if (one.address === undefined)
      checks.set(`address${name}`, () => (hosts(one) ? undefined : 'the address for bots is not known yet'))
  }
  const ending = new AbortController()
  const searching = whereabouts ? search(whereabouts) : Promise.resolve()

  /** Finds out where the machine is, again and again: a droplet may get another address. */
  async function search(place: Whereabouts): Promise<void> {
    for (let told = false; !ending.signal.aborted; ) {
      const before = String(place.hosts())
      try {
        await place.refresh(ending.signal)
        told = false
      } catch (error) {
        if (!told && !ending.signal.aborted) log.warn({ err: error }, 'the address for bots could not be found out')
        told = true
      }
      if (String(place.hosts()) !== before) for (const { node } of cares.values()) node.refresh()
      const pause = place.hosts() ? whereaboutsMs.known : whereaboutsMs.unknown
      await clock.sleep(pause, ending.signal).catch(() => {})
    }
  }

  return {
    nodes: new Map([...cares].map(([id, { node }]) => [id, node])),
    report(value) {
      const outcomes = readOutcomes(value, config.THRESHOLDS.outcomesMs)
      if (outcomes) cares.get(outcomes.node)?.observe(outcomes.observation)
    },
    async [Symbol.asyncDispose]() {
      ending.abort()
      await Promise.all([searching, ...[...cares.values()].map((care) => care[Symbol.asyncDispose]())])
    },
  }
}

/** A node that was retired on purpose is no failure of this service. */
function sayHealth({ health: { state, reasons } }: AudioNode): string | undefined {
  return state === 'ready' || state === 'retired' ? undefined : [state, ...reasons].join(': ')
}
