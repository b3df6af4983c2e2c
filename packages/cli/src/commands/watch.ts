import type { RecordChange } from '@damon/client/watch'
import type { Command } from 'commander'
import * as parse from '../arguments.ts'
import { type ConnectionOptions, useHub, withConnection } from '../connection.ts'
import { printable } from '../table.ts'
import type { Terminal } from '../terminal.ts'

/** `watch PREFIX`: what is there, then every change, until Ctrl-C. */
export function addWatch(program: Command, terminal: Terminal): void {
  withConnection(program.command('watch'))
    .description('Show the records under a prefix, then every change, until Ctrl-C.')
    .argument('<prefix>', 'a whole key, or a prefix that ends with /, such as node/', parse.prefix)
    .action((prefix: string, options: ConnectionOptions) =>
      useHub(options, terminal, async (hub) => {
        using watch = hub.watch(prefix)
        for await (const change of watch) terminal.print(options.json ? JSON.stringify(plain(change)) : line(change))
      }),
    )
}

/** A change without its raw bytes. */
function plain({ type, key, revision, entry, reason }: RecordChange) {
  return { type, key, revision, value: entry?.value, reason }
}

function line({ type, key, entry, reason }: RecordChange): string {
  return [type.padEnd(7), printable(key), type === 'drop' ? printable(reason) : printable(entry?.value)]
    .join(' ')
    .trimEnd()
}
