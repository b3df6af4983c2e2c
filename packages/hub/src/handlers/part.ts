import { encodeHubFrame } from '@damon/protocol/codec-binary'
import { damonError } from '@damon/protocol/errors'
import type { ClientPartFrame, HubPartFrame } from '@damon/protocol/frames'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import { frameInPlace, headroom } from '../ws-frame.ts'

/** A piece of an answer, before the final word. */
export function part(session: Session, frame: ClientPartFrame, context: Context): undefined {
  session.count(frame.number)
  if (!session.unanswered.has(frame.session, frame.request)) {
    context.metrics.lateReplies.inc()
    throw damonError('not_addressed')
  }
  const encode = (origin: number, seq: number) => {
    const piece: HubPartFrame = {
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
    }
    return frameInPlace(encodeHubFrame(piece, headroom), 2)
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
