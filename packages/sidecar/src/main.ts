import { open } from '@damon/client/connect'
import { runService } from '@damon/runtime/service'
import { startSidecar } from './app.ts'
import { botsOf } from './bots-hub.ts'
import { systemClock } from './clock.ts'
import { sidecarConfig } from './config.ts'

/** What of SHUTDOWN_MS is kept for taking the records away after a drain, ms. */
const reserveMs = 2_000

await runService({
  name: 'sidecar',
  config: sidecarConfig,
  drains: true,
  async start({ config, log, checks, resources, hurry }) {
    const hub = resources.use(await open(config.DAMON_CONNECTION_FILE ?? config.DAMON_JOIN?.reveal()))
    hub.on('state', (state, reason) => log.info({ state, reason }, `hub ${state}`))
    checks.set('hub', () => (hub.state === 'connected' ? undefined : hub.state))
    const id = config.NODE_ID ?? hub.subject.split('/').at(-1) ?? hub.subject
    const drainMs = Math.max(0, Math.min(config.DRAIN_MS, config.SHUTDOWN_MS - reserveMs))
    if (drainMs < config.DRAIN_MS) log.warn({ drainMs }, 'SHUTDOWN_MS cuts DRAIN_MS short')
    const parts = { id, announcer: hub, bots: botsOf(hub), clock: systemClock, log, checks, hurry, drainMs }
    resources.use(startSidecar(config, parts))
    return { addresses: { node: id } }
  },
})
