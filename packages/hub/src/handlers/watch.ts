import { damonError } from '@damon/protocol/errors'
import { limits } from '@damon/protocol/limits'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import type { FrameOf } from './frame.ts'
import { checkRead } from './list.ts'

/**
 * A snapshot of a prefix, or what changed since the watcher was here, then its changes, under the id of this frame. A
 * watcher that comes from a worker that was ahead waits until this worker has what it has.
 */
export function watch(session: Session, frame: FrameOf<'watch'>, context: Context): Promise<void> | undefined {
  const { id, prefix, revision, resync = false } = frame
  checkRead(session, prefix)
  if (resync) context.watches.remove(session, id)
  else if (context.watches.has(session, id))
    throw damonError('bad_field', `id: ${id} is a watch already.`, { field: 'id' })
  if (context.watches.count(session) >= limits.watches)
    throw damonError('limit_reached', `A session has at most ${limits.watches} watches.`)
  const begin = () => {
    if (session.isClosed) return
    const beginning = context.watches.add(session, id, prefix, resync ? undefined : revision)
    const how = resync ? 'resync' : beginning === 'changes' ? 'continued' : revision === undefined ? 'new' : 'reset'
    context.metrics.watches.inc({ how })
  }
  if (revision === undefined || revision <= context.replica.revision) begin()
  else return context.replica.reached(revision).then(begin)
  return undefined
}
