import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import type { FrameOf } from './frame.ts'
import { checkWrite, recordValue } from './put.ts'
import { storeCall, written } from './store-call.ts'

/** A new value for a live leased record of this very session: it never creates one and never takes one over. */
export async function patch(session: Session, frame: FrameOf<'patch'>, context: Context): Promise<void> {
  checkWrite(session, frame.key)
  const done = written(await storeCall(context.store.patch(session.id, frame.key, recordValue(frame.payload))))
  await context.replica.reached(done.revision)
  session.send({ type: 'ack', id: frame.id, ...done })
}
