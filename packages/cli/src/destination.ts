import type { Destination } from '@damon/client/destination'
import type { Hub } from '@damon/client/hub'
import { CliError } from './cli-error.ts'

/** Where an address of the command line leads: `all`, `group/NAME` (with `any` to one member), `client/SERVICE/INSTANCE`. */
export function destination(hub: Hub, to: string, any: boolean): Destination {
  const [kind, name = '', instance = ''] = to.split('/')
  if (any && kind !== 'group') throw new CliError('bad_argument', '--any needs a group: group/NAME.')
  if (kind === 'all') return hub.all()
  if (kind === 'client') return hub.client(name, instance)
  return any ? hub.any(name) : hub.group(name)
}
