import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import type { FrameOf } from './frame.ts'

/** Withdraws a request: the receivers without a verdict get `not_needed`. A settled request is left as it is. */
export function cancel(session: Session, frame: FrameOf<'cancel'>, context: Context): undefined {
  context.requests.cancel(session.id, frame.request)
}
