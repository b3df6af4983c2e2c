import { damonError } from '@damon/protocol/errors'
import type { MessageFrame, RequestFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import type { Asked } from '../bus.ts'
import type { Context } from '../context.ts'
import { EncodedFrame } from '../message.ts'
import { SendOrder } from '../publisher.ts'
import type { Another } from '../requests.ts'
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
  if (context.requests.size >= limits.openRequestsOfWorker)
    throw damonError('overloaded', `A worker collects at most ${limits.openRequestsOfWorker} requests.`)
  const { number, quorum, any, idempotent = false } = frame
  const deadlineMs = frame.deadline || limits.defaultDeadlineMs
  const picking = { session: session.id, number, deadlineMs }
  const member = any ? await pickMember(context, frame.to, picking) : undefined
  if (session.isClosed) return

  const asked: Asked = { ...picking, quorum, channel: member ? `session/${member.session}` : frame.to, member }
  const another = any && idempotent ? anotherFor(session, frame, deadlineMs, context) : undefined
  context.requests.begin(session.egress, {
    number,
    quorum,
    deadlineMs,
    channel: asked.channel,
    picked: member?.session,
    another,
  })
  try {
    const encoded = new EncodedFrame(messageOf(session, frame, deadlineMs))
    const { channel } = asked
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
    context.requests.abandon(session.id, number)
    throw error
  }
  // Where the append fails, the receipt of the frame tells its sender.
  const frozen = await context.publisher.freeze(asked).catch(() => undefined)
  if (frozen) context.requests.freeze(session.id, number, frozen)
  else context.requests.abandon(session.id, number)
}

/** Another member for a request to one of a group, with what is left of its time. */
function anotherFor(session: Session, frame: RequestFrame, deadlineMs: number, context: Context): Another {
  const until = performance.now() + deadlineMs
  const { number, quorum, to } = frame
  // A view on what the socket brought, which would live as long as the request.
  const payload = Buffer.from(frame.payload)
  const left = () => Math.max(1, Math.round(until - performance.now()))
  return {
    pick: (except) => context.store.pickFor({ session: session.id, number, deadlineMs: left() }, to, except),
    async ask(member) {
      const channel = `session/${member.session}`
      const message = new EncodedFrame(messageOf(session, { ...frame, payload }, left()))
      context.publisher.publish({
        channel,
        kind: 'request',
        around: true,
        frame: message,
        order: new SendOrder(),
        number: 0,
      })
      await context.publisher.freeze({ session: session.id, number, channel, quorum, deadlineMs: left(), member })
    },
  }
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
