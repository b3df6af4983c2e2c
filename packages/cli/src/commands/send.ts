import type { Command } from 'commander'
import * as parse from '../arguments.ts'
import { type ConnectionOptions, useHub, withConnection } from '../connection.ts'
import { destination } from '../destination.ts'
import type { Terminal } from '../terminal.ts'

/** `send TO EVENT [VALUE]`: a message that nobody answers. */
export function addSend(program: Command, terminal: Terminal): void {
  withConnection(program.command('send'))
    .description('Send a message.')
    .argument('<to>', 'all, group/NAME or client/SERVICE/INSTANCE', parse.address)
    .argument('<event>', "the message's name", parse.event)
    .argument('[value]', 'JSON; what is not JSON is sent as text', parse.value)
    .option('--any', 'to one member of the group')
    .action((to: string, event: string, value: unknown, options: ConnectionOptions & { any?: boolean }) =>
      useHub(options, terminal, async (hub) => {
        await destination(hub, to, options.any ?? false).send(event, value)
        terminal.print(options.json ? JSON.stringify({ sent: true, to, event }) : `sent ${event} to ${to}`)
      }),
    )
}
