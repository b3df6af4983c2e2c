import { open } from '@damon/client/connect'
import { ConfigError } from '@damon/runtime/config'
import { runService } from '@damon/runtime/service'
import { parseCredential } from '@damon/trust/credential'
import { startCerts } from './app.ts'
import { systemClock } from './clock.ts'
import { certsConfig } from './config.ts'
import { createMetrics } from './metrics.ts'
import { readRevoke, readWhy } from './requests.ts'

await runService({
  name: 'certs',
  config: certsConfig,
  async start({ config, log, registry, checks, resources }) {
    const text = config.DAMON_CONNECTION ?? config.DAMON_JOIN
    if (!text) throw new ConfigError(['DAMON_CONNECTION_FILE or DAMON_JOIN is required'])
    const credential = parseCredential(text.reveal())
    const hub = resources.use(await open(credential, { groups: ['certs'] }))
    hub.on('state', (change) => log.info(change, `hub ${change.state}`))
    checks.set('hub', () => (hub.state === 'connected' ? undefined : hub.state))
    const metrics = createMetrics(registry)
    const certs = resources.use(
      await startCerts(config, { credential, records: hub, clock: systemClock, metrics, checks, log }),
    )
    hub.handle('certs.list', async () => certs.list())
    hub.handle('certs.plan', async () => certs.plan())
    hub.handle('certs.why', async (value) => certs.why(readWhy(value).id))
    hub.handle('certs.revoke', async (value, { from }) => {
      const { id, reason } = readRevoke(value)
      log.warn({ certificate: id, reason, from }, 'asked to revoke')
      return certs.revoke(id, reason)
    })
    process.on('SIGHUP', () => void certs.reload())
    return {}
  },
})
