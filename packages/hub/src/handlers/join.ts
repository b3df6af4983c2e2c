import { damonError } from '@damon/protocol/errors'
import type { Position } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import type { Context } from '../context.ts'
import { recordService } from '../service-record.ts'
import type { Session } from '../session.ts'
import type { FrameOf } from './frame.ts'
import { storeCall } from './store-call.ts'

/** Makes the session a member of a group: answered once every later message to it will arrive. */
export async function join(session: Session, frame: FrameOf<'join'>, context: Context): Promise<void> {
  const { id, group } = frame
  if (!session.identified.rights.may('join', group))
    throw damonError('denied', `The token does not allow to join ${group}.`, { field: 'group' })
  let positions: Position[] = []
  if (!session.groups.has(group)) {
    if (session.groups.size >= limits.groups)
      throw damonError('limit_reached', `A session is in at most ${limits.groups} groups.`)
    const channel = `group/${group}`
    session.groups.add(group)
    try {
      await storeCall(context.delivery.add(channel, session.egress))
      const joined = await storeCall(context.store.join(session.id, channel))
      context.delivery.confirm(channel, session.egress, joined)
      positions = joined.heads
    } catch (error) {
      session.groups.delete(group)
      context.delivery.remove(channel, session.egress)
      // Not confirmed is not the same as not done: requests would wait for a member that does not hear them.
      context.store.leave(session.id, channel).catch(() => undefined)
      throw error
    }
    await recordService(session, context)
  }
  session.send({ type: 'ack', id, positions })
}
