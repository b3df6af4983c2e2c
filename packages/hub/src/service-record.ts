import type { ServiceRecord } from '@damon/protocol/records'
import type { Context } from './context.ts'
import type { Session } from './session.ts'

/** After this a record that the store did not take is written again, ms. */
const againMs = 1_000

/**
 * Writes `service/<name>/<instance>/<session>`: who is connected, from where, in which groups. Never rejects: while the
 * store is away it is tried again.
 */
export async function recordService(session: Session, context: Context): Promise<void> {
  const { subject, version, since, address } = session
  const record: ServiceRecord = {
    version,
    groups: [...session.groups],
    since,
    worker: context.publisher.origin,
    address,
  }
  try {
    await context.store.put({
      owner: session.id,
      subject,
      key: `service/${subject}/${session.id}`,
      value: Buffer.from(JSON.stringify(record)),
      leased: true,
    })
  } catch {
    setTimeout(() => session.isClosed || recordService(session, context), againMs).unref()
  }
}
