import type { Command } from 'commander'
import { z } from 'zod'
import { parseAnswers } from '../answers.ts'
import { type ConnectionOptions, useHub, withConnection } from '../connection.ts'
import { printable, span, table } from '../table.ts'
import type { Terminal } from '../terminal.ts'

/** What each worker answers to `hub.status`. */
const workerStatus = z.looseObject({
  worker: z.number(),
  origin: z.number(),
  pid: z.number(),
  sessions: z.number(),
  uptimeMs: z.number(),
  version: z.string(),
  bus: z.string(),
  busOk: z.boolean(),
  records: z.number(),
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
          `${worker.bus}${worker.busOk ? '' : ' FAILS'}`,
          worker.version,
        ])
        terminal.print(`connected as ${printable(hub.subject)}\n`)
        terminal.print(table(['worker', 'pid', 'up', 'sessions', 'records', 'bus', 'version'], rows))
      }),
    )
}
