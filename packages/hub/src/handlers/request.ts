import { damonError } from '@damon/protocol/errors'
import type { MessageFrame, RequestFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import type { Context } from '../context.ts'
import { EncodedFrame } from '../message.ts'
import type { Session } from '../session.ts'
import { checkDestination, pickMember } from './destination.ts'

/**
 * A request: its receivers are frozen in the step that puts it into the log, and it reaches all of them, this worker's
 * too, by the bus. The session's later frames wait until the receivers are known.
 */
export async function request(session: Session, frame: RequestFrame, context: Context): Promise<void> {
  session.count(frame.number)
  checkDestination(session, 'ask', frame)
  if (frame.deadline > limits.deadlineMs)
    throw damonError('bad_field', `deadline: is more than ${limits.deadlineMs} ms.`, { field: 'deadline' })
  if (context.requests.count(session.id) >= limits.openRequests)
    throw damonError('limit_reached', `A session has at most ${limits.openRequests} open requests.`)
  const deadline = frame.deadline || limits.defaultDeadlineMs
  const picked = frame.any ? await pickMember(context, frame.to) : undefined
  if (session.isClosed) return
  const channel = picked ? `session/${picked.session}` : frame.to

  context.requests.begin(session, frame.number, deadline, frame.quorum, channel)
  try {
    const { number } = frame
    const encoded = new EncodedFrame(messageOf(session, frame, deadline))
    context.publisher.publish({
      channel,
      kind: 'request',
      around: true,
      frame: encoded,
      order: session.order,
      sender: session,
      number,
    })
    context.restraint.sent(channel, session.intake)
  } catch (error) {
    context.requests.abandon(session.id, frame.number)
    throw error
  }
  // Where the append fails, the receipt of the frame tells its sender.
  const frozen = await context.publisher.freeze(channel).catch(() => undefined)
  if (frozen) context.requests.freeze(session.id, frame.number, picked ? [picked] : frozen)
  else context.requests.abandon(session.id, frame.number)
}

function messageOf(session: Session, frame: RequestFrame, deadline: number): MessageFrame {
  return {
    type: 'message',
    again: frame.again,
    any: frame.any,
    bytes: frame.bytes,
    late: false,
    request: true,
    deadline,
    origin: 0,
    seq: 0,
    number: frame.number,
    session: session.id,
    from: session.subject,
    to: frame.to,
    event: frame.event,
    payload: frame.payload,
  }
}
