import { setImmediate } from 'node:timers/promises'
import { damonError } from '@damon/protocol/errors'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import { snapshotFrames } from '../watches.ts'
import type { FrameOf } from './frame.ts'

/** All records under a prefix, once. The session's later frames wait until it has taken the answer. */
export async function list(session: Session, frame: FrameOf<'list'>, context: Context): Promise<void> {
  checkRead(session, frame.prefix)
  const records = context.replica.list(frame.prefix)
  for (const answer of snapshotFrames(frame.id, records, context.replica.revision)) {
    await session.egress.sendPatiently(answer)
    if (session.isClosed) return
    if ('more' in answer && answer.more) await setImmediate()
  }
}

/** @throws DamonError `denied` unless one capability covers all that the prefix covers */
export function checkRead(session: Session, prefix: string): void {
  if (!session.identified.rights.watches(prefix))
    throw damonError('denied', `The token does not allow to read "${prefix}".`, { field: 'prefix' })
}
