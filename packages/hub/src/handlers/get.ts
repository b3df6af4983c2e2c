import { damonError } from '@damon/protocol/errors'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import { snapshotFrames } from '../watches.ts'
import type { FrameOf } from './frame.ts'

/** One record, or none. */
export function get(session: Session, frame: FrameOf<'get'>, context: Context): undefined {
  if (!session.identified.rights.may('get', frame.key))
    throw damonError('denied', `The token does not allow to read ${frame.key}.`, { field: 'key' })
  const record = context.replica.get(frame.key)
  for (const answer of snapshotFrames(frame.id, record ? [record] : [], context.replica.revision)) session.send(answer)
}
