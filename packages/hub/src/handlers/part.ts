import { damonError } from '@damon/protocol/errors'
import type { ClientPartFrame, HubPartFrame } from '@damon/protocol/frames'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'

/** A piece of an answer, before the final word. */
export function part(session: Session, frame: ClientPartFrame, context: Context): undefined {
  session.count(frame.number)
  if (!session.unanswered.has(frame.session, frame.request)) {
    context.metrics.lateReplies.inc()
    throw damonError('not_addressed')
  }
  context.publisher.publish({
    channel: `session/${frame.session}`,
    frame: (origin, seq): HubPartFrame => ({
      type: 'part',
      again: frame.again,
      bytes: frame.bytes,
      late: false,
      origin,
      seq,
      request: frame.request,
      session: session.id,
      from: session.subject,
      payload: frame.payload,
    }),
    fast: false,
    sender: session.id,
    receipt: { to: session, number: frame.number },
  })
}
