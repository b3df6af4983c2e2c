import type { Context } from '../context.ts'
import { recordService } from '../service-record.ts'
import type { Session } from '../session.ts'
import type { FrameOf } from './frame.ts'
import { storeCall } from './store-call.ts'

/** Ends a membership: nothing of the group comes after the answer. */
export async function leave(session: Session, frame: FrameOf<'leave'>, context: Context): Promise<void> {
  const channel = `group/${frame.group}`
  if (session.groups.has(frame.group)) {
    await storeCall(context.store.leave(session.id, channel))
    session.groups.delete(frame.group)
    context.delivery.remove(channel, session.egress)
    await recordService(session, context)
  }
  session.send({ type: 'ack', id: frame.id })
}
