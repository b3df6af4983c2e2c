import { damonError } from '@damon/protocol/errors'
import type { NotResumed } from '@damon/protocol/frames'
import { laneOf } from '../aside.ts'
import type { Context } from '../context.ts'
import { resume } from '../resume.ts'
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
  let reason: NotResumed | undefined
  try {
    reason = frame.resume && (await resume(session, frame.resume, groups, context))
    if (!session.isClosed && (reason || !frame.resume)) await enter(session, groups, context, reason)
  } catch (error) {
    session.close('unavailable', error)
  }
  if (session.isClosed) return
  const { id, address, codec } = session
  const { subject: sub, jti } = identified
  const resumed = frame.resume !== undefined && reason === undefined
  context.log.info({ session: id, sub, jti, address, codec, resumed, ...(reason && { reason }) }, 'connected')
}

/**
 * Makes a new session known and a member of its channels. It may end at any moment: what is here is removed by its end, and
 * the store is told of that once it may know of the session. `reason`: why it is not the one that was asked for.
 */
async function enter(
  session: Session,
  groups: ReadonlySet<string>,
  context: Context,
  reason: NotResumed | undefined,
): Promise<void> {
  const channels = ['all', `client/${session.subject}`, ...[...groups].map((group) => `group/${group}`)]
  for (const group of groups) session.groups.add(group)
  const own = [...channels, `session/${session.id}`]
  await storeCall(Promise.all(own.map((channel) => context.delivery.add(channel, session.egress))))
  if (session.isClosed) return
  session.registered = true
  context.roster.hold(session)
  const { id, subject, digest: ticket } = session
  const joined = await storeCall(context.store.openSession({ session: id, subject, ticket, channels }))
  for (const channel of own) context.delivery.confirm(channel, session.egress, joined)
  if (!session.isClosed) await recordService(session, context)
  if (session.isClosed) return
  session.welcome({ resumed: false, reason, done: 0, positions: joined.heads })
  const heads = new Map(joined.heads.map((head) => [laneOf(head), head.seq]))
  await session.egress.begin(
    (dropped) => session.egress.tellDropped(dropped),
    (range) => range.until > (heads.get(laneOf(range)) ?? 0),
  )
}
