import { damonError } from '@damon/protocol/errors'
import type { ClientPartFrame, ReplyFrame, VerdictFrame } from '@damon/protocol/frames'
import type { Context } from '../context.ts'
import { EncodedFrame } from '../message.ts'
import type { Session } from '../session.ts'

/** What a receiver says: a piece of its answer, or its final word. */
export type Word = { type: 'part' } | ({ type: 'verdict' } & Pick<VerdictFrame, 'verdict' | 'code'>)

/** Refuses an answer that no request of this session waits for. @throws DamonError `not_addressed` */
export function checkAddressed(waits: boolean, context: Context): void {
  if (waits) return
  context.metrics.lateReplies.inc()
  throw damonError('not_addressed')
}

/** Brings what a receiver says to the requester, by the requester's own channel. */
export function publishAnswer(
  session: Session,
  frame: ReplyFrame | ClientPartFrame,
  word: Word,
  context: Context,
): void {
  const { again, bytes, number, request, payload } = frame
  const same = { again, bytes, late: false, number, request, session: session.id, from: session.subject, payload }
  const channel = `session/${frame.session}`
  context.publisher.publish({
    channel,
    kind: 'answer',
    frame: new EncodedFrame({ ...same, ...word, origin: 0, seq: 0 }),
    order: session.order,
    sender: session,
    number: frame.number,
  })
  context.restraint.sent(channel, session.intake)
}
