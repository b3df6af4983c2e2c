import type { Command } from 'commander'
import { z } from 'zod'
import { parseAnswers } from '../answers.ts'
import { type ConnectionOptions, useHub, withConnection } from '../connection.ts'
import { printable, span, table } from '../table.ts'
import type { Terminal } from '../terminal.ts'

/** What each worker answers to `hub.status`. */
const workerStatus = z.looseObject({
  worker: z.string(),
  pid: z.number(),
  sessions: z.number(),
  uptimeMs: z.number(),
  bus: z.string(),
  /** Whether its store and bus answer. */
  reachable: z.boolean(),
  records: z.number(),
  openRequests: z.number(),
})

/** `status`: the hub's workers, as each tells it. */
export function addStatus(program: Command, terminal: Terminal): void {
  withConnection(program.command('status'))
    .description('Show the workers of the hub: sessions, records, bus.')
    .action((options: ConnectionOptions) =>
      useHub(options, terminal, async (hub) => {
        const answers = await hub.group('hubs').request('hub.status', undefined)
        const workers = parseAnswers(answers, workerStatus)
        if (options.json) return terminal.print(JSON.stringify(workers))
        const rows = workers.map((worker) => [
          worker.worker,
          worker.pid,
          span(worker.uptimeMs),
          worker.sessions,
          worker.records,
          worker.openRequests,
          worker.reachable ? worker.bus : `${worker.bus}: does not answer`,
        ])
        terminal.print(`connected as ${printable(hub.subject)}\n`)
        terminal.print(table(['worker', 'pid', 'up', 'sessions', 'records', 'requests', 'bus'], rows))
      }),
    )
}
