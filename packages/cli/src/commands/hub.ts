import { setTimeout as sleep } from 'node:timers/promises'
import type { Hub } from '@damon/client/hub'
import { damonError } from '@damon/protocol/errors'
import type { Command } from 'commander'
import { z } from 'zod'
import { parseAnswers } from '../answers.ts'
import { duration } from '../arguments.ts'
import { CliError } from '../cli-error.ts'
import { type ConnectionOptions, useHub, withConnection } from '../connection.ts'
import type { Terminal } from '../terminal.ts'

/** What of a worker's status says whether it is an old one. */
const identity = z.looseObject({ worker: z.string(), origin: z.number(), sessions: z.number() })
type Identity = z.infer<typeof identity>

/** How often the workers are asked who they are, ms. */
const askMs = 500

/** `hub`: what operators do to the hub itself. */
export function addHub(program: Command, terminal: Terminal): void {
  const hub = program.command('hub').description('Operate the hub itself.')
  withConnection(hub.command('roll'))
    .description('Replace all workers by new ones, one after another, without losing a message.')
    .option('--within <time>', 'wait so long for it (default: 10m)', duration, 600_000)
    .action((options: ConnectionOptions & { within: number }) =>
      useHub(options, terminal, async (hub) => {
        const wished = await hub.group('hubs').request('hub.roll')
        const old = new Set(parseAnswers(wished, identity).map(({ origin }) => origin))
        if (old.size === 0) throw damonError('no_receiver', 'No worker answered.')
        const workers = await replaced(hub, old, options.within)
        if (options.json) terminal.print(JSON.stringify(workers))
        else terminal.print(`${old.size} workers replaced: ${workers.map(({ worker }) => worker).join(', ')}`)
      }),
    )
}

/** Resolves to the workers, when none of the old ones is among them and there are as many. Throws `not_answered` after the time. */
async function replaced(hub: Hub, old: ReadonlySet<number>, withinMs: number): Promise<Identity[]> {
  const deadline = performance.now() + withinMs
  for (;;) {
    await sleep(askMs)
    // Its own worker may be replaced while it asks: then it asks again.
    const answers = await hub
      .group('hubs')
      .request('hub.status', undefined, { deadline: 2_000 })
      .then(heard, () => [])
    const left = answers.filter(({ origin }) => old.has(origin)).length
    if (left === 0 && answers.length >= old.size) return answers
    if (performance.now() > deadline)
      throw new CliError('not_answered', `${left} of ${old.size} workers are not replaced. The hub's log says why.`)
  }
}

function heard(answers: readonly { value?: unknown }[]): Identity[] {
  return answers.flatMap(({ value }) => {
    const parsed = identity.safeParse(value)
    return parsed.success ? [parsed.data] : []
  })
}
