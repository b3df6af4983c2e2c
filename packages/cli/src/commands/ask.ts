import type { Answer } from '@damon/client/answer'
import { damonError } from '@damon/protocol/errors'
import type { Command } from 'commander'
import * as parse from '../arguments.ts'
import { CliError } from '../cli-error.ts'
import { type ConnectionOptions, useHub, withConnection } from '../connection.ts'
import { destination } from '../destination.ts'
import { table } from '../table.ts'
import type { Terminal } from '../terminal.ts'

interface Options extends ConnectionOptions {
  any?: boolean
  deadline?: number
}

/** `ask TO EVENT [VALUE]`: a request, and the verdict on each receiver. */
export function addAsk(program: Command, terminal: Terminal): void {
  withConnection(program.command('ask'))
    .description('Send a request and show the verdict on each receiver.')
    .argument('<to>', 'all, group/NAME or client/SERVICE/INSTANCE', parse.address)
    .argument('<event>', "the request's name", parse.event)
    .argument('[value]', 'JSON; what is not JSON is sent as text', parse.value)
    .option('--any', 'to one member of the group')
    .option('--deadline <duration>', 'how long receivers may take, such as 5s', parse.duration)
    .action((to: string, event: string, value: unknown, options: Options) =>
      useHub(options, terminal, async (hub) => {
        const limit = options.deadline === undefined ? {} : { deadline: options.deadline }
        const answers = await destination(hub, to, options.any ?? false).request(event, value, limit)
        terminal.print(options.json ? JSON.stringify(answers.map(plain)) : page(answers))
        if (answers.length === 0) throw damonError('no_receiver')
        const missing = answers.filter(({ verdict }) => verdict !== 'answered').length
        if (missing > 0) throw new CliError('not_answered', `${missing} of ${answers.length} receivers did not answer.`)
      }),
    )
}

function plain({ service, client, session, verdict, value, error }: Answer) {
  return { from: `${service}/${client}`, session, verdict, value, error }
}

function page(answers: readonly Answer[]): string {
  const rows = answers.map(({ service, client, session, verdict, value, error }) => [
    service ? `${service}/${client}` : 'not known',
    session,
    verdict,
    error ? `${error.code}: ${error.message}` : value,
  ])
  return table(['receiver', 'session', 'verdict', 'answer'], rows, 'No receiver.')
}
