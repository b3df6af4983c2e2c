import { damonError } from '@damon/protocol/errors'
import type { Context } from '../context.ts'
import { recordService } from '../service-record.ts'
import type { Session } from '../session.ts'
import type { FrameOf } from './frame.ts'
import { storeCall } from './store-call.ts'

/** The first frame: who it is, proven, and what it wants to be in. Everything is in place before the welcome. */
export async function hello(session: Session, frame: FrameOf<'hello'>, context: Context): Promise<void> {
  if (session.isIdentified) throw damonError('unexpected_frame', 'The hello was said already.')
  const identified = await context.identity.hello(frame.token, frame.proof, session.takeNonce())
  const groups = new Set(frame.groups)
  for (const group of groups)
    if (!identified.rights.may('join', group))
      throw damonError('denied', `The token does not allow to join ${group}.`, { field: 'groups' })
  if (session.isClosed) return
  session.identify(identified)
  session.version = frame.version ?? ''
  try {
    await enter(session, groups, context)
  } catch (error) {
    session.close('unavailable', error)
  }
  if (session.isClosed) return
  context.log.info(
    {
      session: session.id,
      sub: identified.subject,
      jti: identified.jti,
      address: session.address,
      codec: session.codec,
    },
    'connected',
  )
  session.welcome({
    type: 'welcome',
    session: session.id,
    ticket: session.ticket,
    epoch: context.store.epoch,
    resumed: false,
    reason: frame.resume ? (frame.resume.epoch === context.store.epoch ? 'unproved' : 'store_emptied') : undefined,
    subject: identified.subject,
    heartbeatMs: context.settings.heartbeatMs,
    frameBytes: context.settings.frameBytes,
    done: 0,
    ack: { origin: context.publisher.origin, seq: 0 },
    positions: [],
  })
}

/**
 * Makes the session known and a member of its channels. It may end at any moment: what is here is removed by its end, and
 * the store is told of that once it may know of the session.
 */
async function enter(session: Session, groups: ReadonlySet<string>, context: Context): Promise<void> {
  const channels = ['all', `client/${session.subject}`, ...[...groups].map((group) => `group/${group}`)]
  for (const group of groups) session.groups.add(group)
  const own = [...channels, `session/${session.id}`]
  await storeCall(Promise.all(own.map((channel) => context.delivery.add(channel, session))))
  if (session.isClosed) return
  session.registered = true
  const joined = await storeCall(context.store.openSession({ session: session.id, subject: session.subject, channels }))
  for (const channel of own) context.delivery.confirm(channel, session, joined)
  if (!session.isClosed) await recordService(session, context)
}
