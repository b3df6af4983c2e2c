import type { SendFrame } from '@damon/protocol/frames'
import type { Context } from '../context.ts'
import { MessageMaker } from '../message.ts'
import type { Session } from '../session.ts'
import { checkDestination, pickMember } from './destination.ts'

/** Makers that one session keeps; addresses and events come from the wire. */
const rememberedMakers = 256

/** A message: to this worker's members and to the bus with this tick, acknowledged when the log has it. */
export function send(session: Session, frame: SendFrame, context: Context): Promise<void> | undefined {
  session.count(frame.number)
  checkDestination(session, 'send', frame)
  if (frame.any)
    return pickMember(context, frame.to).then((member) => publish(session, frame, context, `session/${member.session}`))
  publish(session, frame, context, frame.to)
  return undefined
}

function publish(session: Session, frame: SendFrame, context: Context, channel: string): void {
  const maker = makerOf(session, frame.to, frame.event)
  context.publisher.publish({
    channel,
    kind: 'message',
    encode: (origin, seq) => maker.make(frame, origin, seq),
    sender: session.id,
    receipt: { to: session, number: frame.number },
  })
  context.restraint.sent(channel, session.intake)
}

function makerOf(session: Session, to: string, event: string): MessageMaker {
  const name = `${to} ${event}`
  let maker = session.makers.get(name)
  if (!maker) {
    if (session.makers.size >= rememberedMakers) session.makers.clear()
    maker = new MessageMaker({ session: session.id, from: session.subject, to, event })
    session.makers.set(name, maker)
  }
  return maker
}
