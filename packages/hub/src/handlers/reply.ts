import { damonError } from '@damon/protocol/errors'
import type { ReplyFrame } from '@damon/protocol/frames'
import { isSegment } from '@damon/protocol/names'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import { checkAddressed, publishAnswer } from './answer.ts'

/** A receiver's final word: only to a request that it was given, only once; it needs no right of its own. */
export function reply(session: Session, frame: ReplyFrame, context: Context): undefined {
  session.count(frame.number)
  const { verdict, code } = frame
  if (code !== '' && !isSegment(code))
    throw damonError('bad_field', 'code: is not [a-z0-9._-]{1,64}.', { field: 'code' })
  checkAddressed(session.egress.unanswered.settle(frame.session, frame.request), context)
  publishAnswer(session, frame, { type: 'verdict', verdict, code }, context)
}
