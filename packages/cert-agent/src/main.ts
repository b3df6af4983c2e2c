import { join } from 'node:path'
import { certificates } from '@damon/client/certificates-node'
import { open } from '@damon/client/connect'
import { backoff } from '@damon/runtime/retry'
import { runService } from '@damon/runtime/service'
import { certAgentConfig } from './config.ts'
import { CertificateFolder } from './folder.ts'
import { findOwner } from './owner.ts'
import { Placement } from './placement.ts'
import { runCommand } from './reload.ts'

await runService({
  name: 'cert-agent',
  config: certAgentConfig,
  async start({ config, log, checks, resources }) {
    const hub = resources.use(await open(config.DAMON_CONNECTION_FILE ?? config.DAMON_JOIN?.reveal()))
    hub.on('state', (change) => log.info(change, `hub ${change.state}`))
    checks.set('hub', () => (hub.state === 'connected' ? undefined : hub.state))
    const ending = new AbortController()
    const running: Promise<void>[] = []
    resources.defer(async () => {
      ending.abort(new Error('cert-agent is stopping'))
      await Promise.all(running)
    })
    const owner = config.CERT_OWNER === undefined ? undefined : await findOwner(config.CERT_OWNER)
    let turn: Promise<unknown> = Promise.resolve()
    for (const id of config.CERTIFICATES) {
      const folder = await CertificateFolder.open(join(config.CERT_DIR, id), config.CERT_MODE, owner)
      const reader = resources.use(certificates(hub, id))
      reader.on('refused', (error) => log.warn({ certificate: id, err: error }, 'refused'))
      const command = config.RELOAD_COMMAND
      const env = { CERTIFICATE: id, CERTIFICATE_PATH: folder.current }
      // One service, several certificates: never two reloads at a time.
      const reload = (signal: AbortSignal): Promise<void> => {
        const done = turn.then(
          () => command && runCommand(command, { env, timeoutMs: config.RELOAD_TIMEOUT_MS, signal }),
        )
        turn = done.catch(() => {})
        return done
      }
      const pause = backoff({ baseMs: 2_000, maxMs: 300_000 })
      const placement = new Placement({ id, reader, folder, reload, servedAt: config.SERVED_AT, pause, log })
      checks.set(`certificate ${id}`, () => placement.problem)
      running.push(placement.run(ending.signal))
    }
    return {}
  },
})
