import type { SendFrame } from '@damon/protocol/frames'
import type { Context } from '../context.ts'
import type { Publication } from '../publisher.ts'
import type { Session } from '../session.ts'
import { checkDestination, pickMember } from './destination.ts'

/** A message: to this worker's members and to the bus with this tick, acknowledged when the log has it. */
export function send(session: Session, frame: SendFrame, context: Context): Promise<void> | undefined {
  session.count(frame.number)
  checkDestination(session, 'send', frame)
  if (frame.any)
    return pickMember(context, frame.to).then(({ session: member }) =>
      publish(session, session.routes.publicationTo(frame, member), context),
    )
  publish(session, session.routes.publication(frame), context)
  return undefined
}

/** The same for a frame as it came, if its session has sent to this address with this event before; false: it has not. */
export function sendAgain(session: Session, chunk: Buffer, from: number, to: number, context: Context): boolean {
  const publication = session.routes.publicationOf(chunk, from, to)
  if (!publication) return false
  try {
    session.count(publication.number)
    publish(session, publication, context)
  } catch (error) {
    session.refuse(publication.number, error)
  }
  return true
}

function publish(session: Session, publication: Publication, context: Context): void {
  // Nothing of it may follow once it can be taken up elsewhere.
  if (session.isClosed) return
  context.publisher.publish(publication)
  context.restraint.sent(publication.channel, session.intake)
}
