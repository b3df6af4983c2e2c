import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import type { FrameOf } from './frame.ts'
import { checkWrite } from './put.ts'
import { storeCall, written } from './store-call.ts'

/** Ends a record, with a reason that its watchers see. */
export async function drop(session: Session, frame: FrameOf<'drop'>, context: Context): Promise<void> {
  const { key, expect } = frame
  checkWrite(session, key)
  const reason = frame.reason ?? 'dropped'
  const done = written(
    await storeCall(context.store.drop({ owner: session.id, subject: session.subject, key, reason, expect })),
  )
  session.leases.delete(key)
  await context.replica.reached(done.revision)
  session.send({ type: 'ack', id: frame.id, ...done })
}
