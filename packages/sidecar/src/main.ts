import { open } from '@damon/client/connect'
import type { Hub } from '@damon/client/hub'
import type { StateChange } from '@damon/client/link'
import { nodeEvents } from '@damon/protocol/audio'
import type { Logger } from '@damon/runtime/logger'
import { runService } from '@damon/runtime/service'
import { startSidecar } from './app.ts'
import { botsOf } from './bots-hub.ts'
import { systemClock } from './clock.ts'
import { configuredNodes, type SidecarConfig, sidecarConfig } from './config.ts'
import type { Docker } from './docker.ts'
import { containerCare, withContainers } from './docker-nodes.ts'
import { fleetOf } from './fleet-hub.ts'
import { outsideOf } from './outside-hub.ts'
import { digitalOceanWhereabouts, hubWhereabouts, type Whereabouts } from './whereabouts.ts'

/** What of SHUTDOWN_MS is kept for taking the records away after a drain, ms. */
const reserveMs = 2_000

await runService({
  name: 'sidecar',
  config: sidecarConfig,
  drains: true,
  async start({ config, log, registry, checks, resources, hurry, stopping }) {
    const source = config.DAMON_CONNECTION_FILE ?? config.DAMON_JOIN?.reveal()
    const hub = resources.use(await open(source, { name: 'sidecar', onState: teller(log) }))
    hub.on('error', (error) => log.warn({ err: error }, 'an error of the hub connection'))
    checks.set('hub', () => (hub.state === 'connected' ? undefined : hub.state))
    const id = config.NODE_ID ?? hub.subject.split('/').at(-1) ?? hub.subject
    const docker = config.DOCKER ? await dockerOf(config) : undefined
    const configured = configuredNodes(config, id)
    const nodes = docker ? await withContainers(docker, configured, config, { id, log, stopping }) : configured
    const drainMs = Math.max(0, Math.min(config.DRAIN_MS, config.SHUTDOWN_MS - reserveMs))
    if (drainMs < config.DRAIN_MS) log.warn({ drainMs }, 'SHUTDOWN_MS cuts DRAIN_MS short')
    const sidecar = await startSidecar(nodes, config, {
      announcer: hub,
      bots: botsOf(hub),
      fleet: fleetOf(hub),
      sidecar: hub.subject,
      outside: outsideOf(hub, hubWhereabouts(hub)),
      whereabouts: whereaboutsOf(config, hub),
      extras: ({ container }) => (docker && container ? containerCare(docker, container, config, log) : {}),
      clock: systemClock,
      random: Math.random,
      ...{ log, registry, checks, hurry, drainMs },
    })
    resources.use(sidecar)
    hub.receive(nodeEvents.outcomes, (value) => sidecar.report(value))
    return { addresses: { node: [...sidecar.nodes.keys()].join() } }
  },
})

/** Loaded only where Docker is used: it takes a tenth of the memory. */
async function dockerOf(config: SidecarConfig): Promise<Docker> {
  const { dockerEngine } = await import('./docker-engine.ts')
  return dockerEngine(config.DOCKER_HOST)
}

function whereaboutsOf(config: SidecarConfig, hub: Hub): Whereabouts | undefined {
  if (config.NODE_ADDRESS_FROM === 'digitalocean') return digitalOceanWhereabouts(config.METADATA_URL)
  return config.NODE_ADDRESS_FROM === 'hub' ? hubWhereabouts(hub) : undefined
}

/** A hub that is away is told of once, not at each attempt to reach it. */
function teller(log: Logger): (change: StateChange) => void {
  let last: string | undefined
  return (change) => {
    const { state, reason, error, url, resumed } = change
    const news = `${state} ${reason}`
    log[news === last ? 'debug' : weight(change)]({ reason, url, resumed, why: error?.message }, `hub ${state}`)
    last = news
  }
}

function weight({ state, error }: StateChange): 'info' | 'warn' | 'error' {
  if (state === 'connected' || error?.code === 'closed') return 'info'
  return state === 'closed' ? 'error' : 'warn'
}
