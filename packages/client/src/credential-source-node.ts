import { readFile as read } from 'node:fs/promises'
import { damonError } from '@damon/protocol/errors'

/** The `DAMON_JOIN` string, or the path of the connection file, that the environment names. */
export function readEnvironment(): string | undefined {
  return process.env.DAMON_JOIN || process.env.DAMON_CONNECTION_FILE || undefined
}

/** The text of a connection file. Throws `bad_credential` when it cannot be read. */
export async function readFile(path: string): Promise<string> {
  try {
    return await read(path, 'utf8')
  } catch (cause) {
    throw damonError('bad_credential', `${path} cannot be read.`, { cause })
  }
}
