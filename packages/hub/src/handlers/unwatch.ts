import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import type { FrameOf } from './frame.ts'

/** Ends a watch: nothing of it comes after the answer. */
export function unwatch(session: Session, frame: FrameOf<'unwatch'>, context: Context): undefined {
  context.watches.remove(session, frame.id)
  session.send({ type: 'ack', id: frame.id })
}
