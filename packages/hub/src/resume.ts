import type { NotResumed, Position } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { delay } from '@damon/runtime/retry'
import { laneOf } from './aside.ts'
import { everyChannel, type Range } from './bus.ts'
import type { Context } from './context.ts'
import { dropForbidden } from './forbidden-leases.ts'
import type { FrameOf } from './handlers/frame.ts'
import { storeCall } from './handlers/store-call.ts'
import { recollect } from './recollect.ts'
import { Replay } from './replay.ts'
import { sentBy } from './sent.ts'
import { recordResumed, serviceKey } from './service-record.ts'
import type { Session } from './session.ts'
import type { Taken } from './store.ts'

/** What a hello says of the session that shall go on. */
type Resume = NonNullable<FrameOf<'hello'>['resume']>

/** How long to wait before a worker that still has the session is looked at again, ms; doubling. */
const firstLookMs = 10

/** Beyond every number of a log. */
const endOfLog = 2 ** 48 - 1

/**
 * Goes on with an earlier session on this line, on whatever worker that was: takes it over, finds out what of its sends is
 * done, welcomes it, and gives it what it has missed. Answers why not, where it cannot; then the session is a new one.
 * @throws DamonError `unavailable`
 */
export async function resume(
  session: Session,
  asked: Resume,
  groups: ReadonlySet<string>,
  context: Context,
): Promise<NotResumed | undefined> {
  const began = performance.now()
  const result = await takeUp(session, asked, groups, context)
  if (session.isClosed) return undefined
  context.metrics.resumes.inc({ result: result ?? 'resumed' })
  context.metrics.resumeSeconds.observe((performance.now() - began) / 1000)
  return result
}

async function takeUp(
  session: Session,
  asked: Resume,
  groups: ReadonlySet<string>,
  context: Context,
): Promise<NotResumed | undefined> {
  const { delivery, metrics, roster, store } = context
  if (asked.epoch !== store.epoch) return 'store_emptied'

  session.adopt(asked.session, asked.ticket)
  const channels = ['all', `client/${session.subject}`, ...[...groups].map((group) => `group/${group}`)]
  const own = [...channels, `session/${session.id}`]
  for (const group of groups) session.groups.add(group)
  // From the moment of the takeover on nothing may pass it by: what comes is kept aside.
  await storeCall(Promise.all(own.map((channel) => delivery.add(channel, session.egress))))

  const taken = await takeOver(session, channels, context)
  if (session.isClosed) return undefined
  if ('refused' in taken) {
    session.renounce()
    return taken.refused
  }
  for (const channel of own) delivery.confirm(channel, session.egress, taken)
  const sends = await settledSends(asked, context)
  if (session.isClosed) return undefined
  if (!sends) {
    // What it had stays as long as it would have: its client may put it again.
    await storeCall(store.endSession(session.id, 'lost'))
    session.registered = false
    roster.remove(session)
    session.renounce()
    return 'sends_unproved'
  }

  session.goOn(sends.done)
  const service = serviceKey(session)
  for (const key of taken.leases) if (key !== service) session.leases.add(key)
  const forbidden = await dropForbidden(session, session.identified.rights, context)
  await recordResumed(session, context)
  const positions = whereItStands(asked.positions, taken.heads)
  session.welcome({
    resumed: true,
    // What it may not have any more it is told as soon as it puts it again.
    lapsed: taken.lost !== undefined || forbidden,
    done: sends.done,
    refused: sends.refused,
    positions,
  })

  const replay = new Replay(session, { context, taken, positions })
  await replay.upTo(missed(positions, taken.heads))
  await storeCall(recollect(session.egress, taken.heads, context))
  await session.egress.begin(
    (dropped) => replay.upTo(dropped),
    (range) => replay.isNew(range),
  )
  // What nobody remembers was settled: its client has all that was said on it, but perhaps not that this was all.
  const except = context.requests.numbers(session.id)
  const lost = replay.lostWords || undefined
  if (sends.done > 0) session.send({ type: 'settled', request: sends.done, tally: {}, except, lost })
  metrics.replayed.inc(replay.frames)
  return undefined
}

/** Makes the session this worker's. Who still has it is asked for it by the store, and is ended when it does not answer. */
async function takeOver(
  session: Session,
  channels: string[],
  context: Context,
): Promise<Taken | { refused: NotResumed }> {
  const { departures, log, publisher, roster, store } = context
  const entry = { session: session.id, subject: session.subject, ticket: session.digest, channels }
  const began = performance.now()
  let fenced = false
  roster.ask(session)
  try {
    await Promise.race([departures.settled(session.id), delay(limits.releaseMs)])
    for (let waitMs = firstLookMs; !session.isClosed; waitMs *= 2) {
      // What went to this worker's own members already must be in the log before the session's place in it is told.
      await publisher.confirmed()
      const taken = await storeCall(store.takeOver(entry))
      if (!('refused' in taken)) {
        if (session.isClosed) departures.add(session.id, 'lost', () => 0)
        else hold(session, context)
        return taken
      }
      if (taken.refused === 'unknown_session' || fenced) return taken
      if (performance.now() - began >= limits.releaseMs) {
        if (taken.owner === publisher.origin) return taken
        log.error({ origin: taken.owner, session: session.id }, 'a worker does not release a session and is ended')
        await storeCall(store.fence(taken.owner))
        fenced = true
      } else await delay(Math.min(waitMs, limits.releaseMs / 4))
    }
    return { refused: 'busy' }
  } finally {
    roster.answered(session)
  }
}

function hold(session: Session, { roster }: Context): void {
  session.registered = true
  roster.hold(session)
}

/**
 * Up to where the session's own frames are settled, and which of those that its client was not told of were refused: what
 * it sent since it was last welcomed or acknowledged is in the log of the worker that said so, or nowhere. Undefined where
 * that log does not reach back.
 */
async function settledSends(
  { session, ack, done, sent }: Resume,
  { readings }: Context,
): Promise<{ done: number; refused: number[] } | undefined> {
  if (sent <= done) return { done, refused: [] }
  const range = { origin: ack.origin, to: everyChannel, from: ack.seq + 1, until: endOfLog }
  const logged = await readings.read([range], limits.replayBytes, async ({ batches, missing }) =>
    missing.length > 0 ? undefined : sentBy(session, batches),
  )
  if (!logged) return undefined
  const last = Math.max(done, ...[...logged].filter((number) => number <= sent))
  const refused: number[] = []
  for (let number = done + 1; number < last; number++) if (!logged.has(number)) refused.push(number)
  return { done: last, refused }
}

/** Where the client is on each lane that has a log: what it does not name it has never had anything of. */
function whereItStands(known: readonly Position[], heads: readonly Position[]): Position[] {
  const at = new Map(known.map((position) => [laneOf(position), position.seq]))
  return heads.map(({ origin, to }) => ({ origin, to, seq: at.get(laneOf({ origin, to })) ?? 0 }))
}

/** What lies between. */
function missed(positions: readonly Position[], heads: readonly Position[]): Range[] {
  return heads.flatMap(({ origin, to, seq: until }, i) => {
    const from = (positions[i]?.seq ?? 0) + 1
    return from <= until ? [{ origin, to, from, until }] : []
  })
}
