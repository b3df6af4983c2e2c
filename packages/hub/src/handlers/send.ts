import type { MessageFrame, SendFrame } from '@damon/protocol/frames'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import { checkDestination, pickMember } from './destination.ts'

/** A message: to this worker's members at once, to the bus with this tick, acknowledged when the log has it. */
export function send(session: Session, frame: SendFrame, context: Context): Promise<void> | undefined {
  session.count(frame.number)
  checkDestination(session, 'send', frame)
  if (frame.any)
    return pickMember(context, frame.to).then((member) => publish(session, frame, context, `session/${member.session}`))
  publish(session, frame, context, frame.to)
  return undefined
}

function publish(session: Session, frame: SendFrame, context: Context, channel: string): void {
  context.publisher.publish({
    channel,
    frame: (origin, seq) => messageOf(session, frame, origin, seq),
    fast: true,
    sender: session.id,
    receipt: { to: session, number: frame.number },
  })
}

function messageOf(session: Session, frame: SendFrame, origin: number, seq: number): MessageFrame {
  return {
    type: 'message',
    again: frame.again,
    any: frame.any,
    bytes: frame.bytes,
    late: false,
    request: false,
    deadline: 0,
    origin,
    seq,
    number: frame.number,
    session: session.id,
    from: session.subject,
    to: frame.to,
    event: frame.event,
    payload: frame.payload,
  }
}
