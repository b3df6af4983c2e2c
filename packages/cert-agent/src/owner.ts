import { readFile } from 'node:fs/promises'
import { ConfigError } from '@damon/runtime/config'

/** Whose files are, as `chown` takes it; -1 leaves a half as it is. */
export interface Owner {
  uid: number
  gid: number
}

const form = /^(?<user>[a-z_][a-z0-9_.-]*|\d+)?(?::(?<group>[a-z_][a-z0-9_.-]*|\d+))?$/i

/** Whether a text is `user`, `user:group` or `:group`, each a name or a number. */
export function isOwner(text: string): boolean {
  return text !== '' && form.test(text)
}

/**
 * Finds the numbers behind an owner. Names are looked up in these files, as in `/etc/passwd` and `/etc/group`; a user or group
 * that comes from elsewhere is given as its number. Throws a ConfigError.
 */
export async function findOwner(text: string, files = { users: '/etc/passwd', groups: '/etc/group' }): Promise<Owner> {
  const { user, group } = form.exec(text)?.groups ?? {}
  return { uid: await find(user, 'user', files.users), gid: await find(group, 'group', files.groups) }
}

async function find(name: string | undefined, kind: 'user' | 'group', path: string): Promise<number> {
  if (name === undefined) return -1
  if (/^\d+$/.test(name)) return Number(name)
  const lines = (await readFile(path, 'utf8')).split('\n').map((line) => line.split(':'))
  const id = lines.find(([known]) => known === name)?.[2]
  if (id === undefined)
    throw new ConfigError([`CERT_OWNER names the ${kind} ${name}, who is not in ${path}: give a number`])
  return Number(id)
}
