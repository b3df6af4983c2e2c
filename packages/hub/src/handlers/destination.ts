import { damonError } from '@damon/protocol/errors'
import { isAddress, isEvent } from '@damon/protocol/names'
import type { Member } from '../bus.ts'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import type { Picking } from '../store.ts'
import { storeCall } from './store-call.ts'

/**
 * Checks where a message shall go and whether its sender may send it there.
 * @throws DamonError `bad_field` or `denied`
 */
export function checkDestination(
  session: Session,
  verb: 'send' | 'ask',
  { to, event, any }: { to: string; event: string; any: boolean },
): void {
  // The rights remember their answer, so a known pair costs one look-up.
  if (session.identified.rights.may(verb, to, event)) {
    if (isAddress(to) && isEvent(event) && !(any && !to.startsWith('group/'))) return
  }
  if (!isAddress(to))
    throw damonError('bad_field', 'to: is neither all, group/G nor client/SERVICE/INSTANCE.', { field: 'to' })
  if (!isEvent(event)) throw damonError('bad_field', 'event: is not [a-z0-9._-]{1,64}.', { field: 'event' })
  if (any && !to.startsWith('group/')) throw damonError('bad_field', 'any: needs a group.', { field: 'any' })
  throw damonError('denied', `The token does not allow to ${verb} ${event} to ${to}.`, { field: 'to' })
}

/**
 * One member of a group; for a request, one that has few.
 * @throws DamonError `no_receiver` or `unavailable`
 */
export async function pickMember(context: Context, to: string, request?: Picking): Promise<Member> {
  const { store } = context
  const member = await storeCall(request ? store.pickFor(request, to, []) : store.pick(to))
  if (!member) throw damonError('no_receiver', `${to} has no member.`)
  return member
}
