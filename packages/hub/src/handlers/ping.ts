import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import type { FrameOf } from './frame.ts'

/** The client's heartbeat: its watches learn what they must have by now. */
export function ping(session: Session, frame: FrameOf<'ping'>, context: Context): undefined {
  const digests = context.watches.digests(session)
  session.send({ type: 'pong', t: frame.t, revision: context.replica.revision, digests })
}
