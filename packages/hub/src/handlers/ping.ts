import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import type { FrameOf } from './frame.ts'

/** The client's heartbeat. */
export function ping(session: Session, frame: FrameOf<'ping'>, context: Context): undefined {
  session.send({ type: 'pong', t: frame.t, revision: context.replica.revision })
}
