import type { Command } from 'commander'
import type { Terminal } from '../terminal.ts'

/** `up`: hub, certs and sidecar on this machine, from nothing. */
export function addUp(program: Command, terminal: Terminal): void {
  program
    .command('up')
    .description('Start hub, certs and, with LAVALINK_URL, the sidecar here; make all they need at the first start.')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nDAMON_PORT is the port of the hub (8443), DAMON_HOME the folder of its state (.damon in the workspace).',
    )
    .action(async ({ json }: { json?: boolean }) => {
      // Loaded when needed: what makes certificates would double the start of every other command.
      const { up } = await import('../up/run.ts')
      await up(terminal, json ?? false)
    })
}
