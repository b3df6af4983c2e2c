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

/** The same for a frame as it came, if it is a usual one; false: it is not. */
export function replyAsItCame(session: Session, chunk: Buffer, from: number, to: number, context: Context): boolean {
  const { replies } = session
  const publication = replies.publicationOf(chunk, from, to)
  if (!publication) return false
  try {
    session.count(publication.number)
    checkAddressed(session.egress.unanswered.settle(replies.asker, replies.request), context)
    context.publisher.publish(publication)
    context.restraint.sent(publication.channel, session.intake)
  } catch (error) {
    session.refuse(publication.number, error)
  }
  return true
}
