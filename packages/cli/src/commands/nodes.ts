import { nodeRecord } from '@damon/protocol/records'
import type { Command } from 'commander'
import { type ConnectionOptions, useHub, withConnection } from '../connection.ts'
import { readEntries } from '../entries.ts'
import { span, table } from '../table.ts'
import type { Terminal } from '../terminal.ts'

/** `nodes`: the announced audio nodes. */
export function addNodes(program: Command, terminal: Terminal): void {
  withConnection(program.command('nodes'))
    .description('Show the audio nodes that sidecars announce.')
    .action((options: ConnectionOptions) =>
      useHub(options, terminal, async (hub) => {
        const nodes = readEntries(await hub.list('node/'), nodeRecord).map(({ key, state: lease, value }) => {
          return { id: key.slice('node/'.length), lease, ...value }
        })
        if (options.json) return terminal.print(JSON.stringify(nodes))
        const rows = nodes.map(({ id, lease, state, since, address, load, version, reasons }) => [
          id,
          lease === 'live' ? state : `${state} (${lease})`,
          span(Date.now() - since),
          `${address.secure ? 'https' : 'http'}://${address.host}:${address.port}`,
          load ? `${load.playingPlayers}/${load.players}` : '',
          load ? `${Math.round(load.systemLoad * 100)} %` : '',
          version,
          reasons.join('; '),
        ])
        const heads = ['node', 'state', 'since', 'address', 'playing', 'load', 'version', 'reasons']
        terminal.print(table(heads, rows, 'No audio node is announced.'))
      }),
    )
}
