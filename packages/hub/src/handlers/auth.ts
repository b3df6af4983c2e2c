import { damonError } from '@damon/protocol/errors'
import type { Context } from '../context.ts'
import { dropForbidden } from '../forbidden-leases.ts'
import type { Session } from '../session.ts'
import type { FrameOf } from './frame.ts'

/** A new token on a live session: the same subject and key, perhaps other rights. What it lost ends. */
export async function auth(session: Session, frame: FrameOf<'auth'>, context: Context): Promise<void> {
  const before = session.identified
  const identified = await context.identity.renew(frame.token)
  if (identified.subject !== before.subject || identified.key !== before.key)
    throw damonError('bad_token', 'It is for another subject or key than this session.', { field: 'token' })
  const lost = [...session.groups].filter((group) => !identified.rights.may('join', group))
  if (lost.length > 0) {
    session.close('rights_changed', damonError('denied', `The new token does not allow to be in ${lost.join(', ')}.`))
    return
  }
  await dropForbidden(session, identified.rights, context)
  session.identify(identified)
  for (const { id, prefix } of context.watches.recheck(session, (prefix) => identified.rights.watches(prefix)))
    session.sendError(damonError('denied', `The new token does not allow to watch "${prefix}".`), { id })
  session.send({ type: 'ack', id: frame.id })
}
