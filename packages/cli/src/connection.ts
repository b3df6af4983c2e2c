import { resolve } from 'node:path'
import type { Hub } from '@damon/client/hub'
import { type Credential, parseCredential } from '@damon/trust/credential'
import type { Command } from 'commander'
import { CliError } from './cli-error.ts'
import { readPrivate } from './files.ts'
import { findHome } from './home.ts'
import { reach } from './reach.ts'
import type { Terminal } from './terminal.ts'

/** Options of every command that talks to the hub. */
export interface ConnectionOptions {
  connection?: string
  json?: boolean
}

/** Where a connection comes from: the text itself, or a file. */
export type ConnectionSource = { from: string; text: string } | { from: string; path: string }

/** Adds the options of every command that talks to the hub. */
export function withConnection(command: Command): Command {
  return command
    .option('--connection <file>', 'connection file (default: see `damon --help`)')
    .option('--json', 'print JSON')
}

/** Decides which connection to use, without reading it. */
export function findConnection({ connection }: ConnectionOptions, { env, cwd }: Terminal): ConnectionSource {
  if (connection) return { from: '--connection', path: resolve(cwd, connection) }
  if (env.DAMON_JOIN) return { from: 'DAMON_JOIN', text: env.DAMON_JOIN }
  if (env.DAMON_CONNECTION_FILE) return { from: 'DAMON_CONNECTION_FILE', path: resolve(cwd, env.DAMON_CONNECTION_FILE) }
  return { from: 'DAMON_HOME', path: findHome(env, cwd).connection('operator') }
}

/** Reads it. Throws `no_connection`, `too_open` or `bad_credential`. */
export async function readConnection(source: ConnectionSource): Promise<Credential> {
  if ('text' in source) return parseCredential(source.text)
  const text = await readPrivate(source.path)
  if (text !== undefined) return parseCredential(text, source.path)
  if (source.from !== 'DAMON_HOME') {
    throw new CliError('no_connection', `There is no file ${source.path}, which ${source.from} names.`)
  }
  throw new CliError(
    'no_connection',
    `There is no connection file ${source.path}. Start Damon here with \`npm start\`, or name the file that \`damon token mint\` made: --connection FILE or DAMON_CONNECTION_FILE.`,
  )
}

/**
 * Connects, does the work and closes. Ctrl-C closes too, which ends a watch and fails everything else as `interrupted`.
 * Throws a coded error that says why the hub cannot be reached.
 */
export async function useHub(
  options: ConnectionOptions,
  terminal: Terminal,
  work: (hub: Hub) => Promise<void>,
): Promise<void> {
  const credential = await readConnection(findConnection(options, terminal))
  const { signal } = terminal.interrupt()
  try {
    await using hub = await reach(credential, signal)
    hub.on('state', ({ state, reason }) => {
      if (state !== 'closed') terminal.note(`${state}${reason ? ` (${reason})` : ''}`)
    })
    signal.addEventListener('abort', () => hub.close('interrupted'), { once: true })
    await work(hub)
  } catch (error) {
    if (signal.aborted) throw new CliError('interrupted', 'Interrupted.', { cause: error })
    throw error
  }
}
