import { damonError } from '@damon/protocol/errors'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import { snapshotFrames } from '../watches.ts'
import type { FrameOf } from './frame.ts'

/** One record, or none. The session's later frames wait until it has taken the answer. */
export async function get(session: Session, frame: FrameOf<'get'>, context: Context): Promise<void> {
  if (!session.identified.rights.may('get', frame.key))
    throw damonError('denied', `The token does not allow to read ${frame.key}.`, { field: 'key' })
  const record = context.replica.get(frame.key)
  const records = record ? [record] : []
  for (const answer of snapshotFrames(frame.id, records, context.replica.revision))
    await session.egress.sendPatiently(answer)
}
