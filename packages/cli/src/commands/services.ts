import { serviceRecord } from '@damon/protocol/records'
import type { Command } from 'commander'
import { type ConnectionOptions, useHub, withConnection } from '../connection.ts'
import { readEntries } from '../entries.ts'
import { span, table } from '../table.ts'
import type { Terminal } from '../terminal.ts'

/** `services`: who is connected. */
export function addServices(program: Command, terminal: Terminal): void {
  withConnection(program.command('services'))
    .description('Show who is connected.')
    .action((options: ConnectionOptions) =>
      useHub(options, terminal, async (hub) => {
        const services = readEntries(await hub.list('service/'), serviceRecord).map(({ key, state, value }) => {
          const [, service = '', instance = '', session = ''] = key.split('/')
          return { service, instance, session, state, ...value }
        })
        if (options.json) return terminal.print(JSON.stringify(services))
        const rows = services.map((one) => [
          `${one.service}/${one.instance}`,
          one.session,
          one.state,
          span(Date.now() - one.since),
          one.worker,
          one.groups.join(', '),
          one.address,
          one.version,
        ])
        const heads = ['service', 'session', 'state', 'since', 'worker', 'groups', 'address', 'version']
        terminal.print(table(heads, rows, 'Nobody is connected.'))
      }),
    )
}
