import type { SendFrame } from '@damon/protocol/frames'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import { checkDestination, pickMember } from './destination.ts'

/** A message: to this worker's members and to the bus with this tick, acknowledged when the log has it. */
export function send(session: Session, frame: SendFrame, context: Context): Promise<void> | undefined {
  session.count(frame.number)
  checkDestination(session, 'send', frame)
  if (frame.any)
    return pickMember(context, frame.to).then(({ session: member }) =>
      context.publisher.publish(session.routes.publicationTo(frame, member)),
    )
  context.publisher.publish(session.routes.publication(frame))
  return undefined
}
