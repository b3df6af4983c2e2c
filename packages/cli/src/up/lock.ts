import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { CliError } from '../cli-error.ts'
import type { Home } from '../home.ts'

const busy = 5

/**
 * Makes this process the only `damon up` of a home until disposed. SQLite holds a lock of the system on an empty file:
 * it ends with the process, however that ends, so none is ever stale. Throws `already_running` with the other's pid.
 */
export function lockHome(home: Home): Disposable {
  const database = new DatabaseSync(home.lock)
  try {
    database.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if ((error as { errcode?: number }).errcode !== busy) throw error
    throw new CliError(
      'already_running',
      `${other(home)} already runs with ${home.root}. Stop it, or set another DAMON_HOME.`,
    )
  }
  chmodSync(home.lock, 0o600)
  writeFileSync(home.pid, `${process.pid}\n`, { mode: 0o600 })
  return { [Symbol.dispose]: () => database.close() }
}

function other(home: Home): string {
  try {
    return `A \`damon up\` (pid ${readFileSync(home.pid, 'utf8').trim()})`
  } catch {
    return 'A `damon up`'
  }
}
