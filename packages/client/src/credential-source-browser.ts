import { damonError } from '@damon/protocol/errors'

/** A browser's environment names no credential. */
export function readEnvironment(): string | undefined {
  return undefined
}

/** A browser has no files. Throws `bad_credential`. */
export async function readFile(path: string): Promise<string> {
  throw damonError('bad_credential', `A browser cannot read ${path}. Give the credential itself.`)
}
