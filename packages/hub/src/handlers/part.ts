import type { ClientPartFrame } from '@damon/protocol/frames'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import { checkAddressed, publishAnswer } from './answer.ts'

/** A piece of an answer, before the final word. */
export function part(session: Session, frame: ClientPartFrame, context: Context): undefined {
  session.count(frame.number)
  checkAddressed(session.egress.unanswered.has(frame.session, frame.request), context)
  publishAnswer(session, frame, { type: 'part' }, context)
}
