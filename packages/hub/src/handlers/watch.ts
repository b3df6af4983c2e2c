import { damonError } from '@damon/protocol/errors'
import { limits } from '@damon/protocol/limits'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import type { FrameOf } from './frame.ts'
import { checkRead } from './list.ts'

/** A snapshot of a prefix, then its changes, under the id of this frame. */
export function watch(session: Session, frame: FrameOf<'watch'>, context: Context): undefined {
  checkRead(session, frame.prefix)
  if (context.watches.has(session, frame.id))
    throw damonError('bad_field', `id: ${frame.id} is a watch already.`, { field: 'id' })
  if (context.watches.count(session) >= limits.watches)
    throw damonError('limit_reached', `A session has at most ${limits.watches} watches.`)
  context.watches.add(session, frame.id, frame.prefix)
}
