import { encodeHubFrame } from '@damon/protocol/codec-binary'
import { damonError } from '@damon/protocol/errors'
import type { ReplyFrame, VerdictFrame } from '@damon/protocol/frames'
import { isSegment } from '@damon/protocol/names'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import { frameInPlace, headroom } from '../ws-frame.ts'

/** A receiver's final word: only to a request that it was given, only once; it needs no right of its own. */
export function reply(session: Session, frame: ReplyFrame, context: Context): undefined {
  session.count(frame.number)
  if (frame.code !== '' && !isSegment(frame.code))
    throw damonError('bad_field', 'code: is not [a-z0-9._-]{1,64}.', { field: 'code' })
  if (!session.unanswered.settle(frame.session, frame.request)) {
    context.metrics.lateReplies.inc()
    throw damonError('not_addressed')
  }
  const encode = (origin: number, seq: number) => {
    const verdict: VerdictFrame = {
      type: 'verdict',
      again: frame.again,
      bytes: frame.bytes,
      late: false,
      origin,
      seq,
      request: frame.request,
      session: session.id,
      from: session.subject,
      verdict: frame.verdict,
      code: frame.code,
      payload: frame.payload,
    }
    return frameInPlace(encodeHubFrame(verdict, headroom), 2)
  }
  const receipt = { to: session, number: frame.number }
  context.publisher.publish({
    channel: `session/${frame.session}`,
    kind: 'answer',
    encode,
    sender: session.id,
    receipt,
  })
}
