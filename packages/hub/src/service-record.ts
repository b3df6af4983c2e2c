import type { ServiceRecord } from '@damon/protocol/records'
import type { Context } from './context.ts'
import { storeCall } from './handlers/store-call.ts'
import type { Session } from './session.ts'

/** When a session began, for its record. */
const began = new WeakMap<Session, number>()

/** Writes `service/<name>/<instance>/<session>`: who is connected, from where, in which groups. */
export async function recordService(session: Session, context: Context): Promise<void> {
  const since = began.get(session) ?? Date.now()
  began.set(session, since)
  const record: ServiceRecord = {
    version: session.version,
    groups: [...session.groups],
    since,
    worker: context.publisher.origin,
    address: session.address,
  }
  const { subject } = session
  const put = {
    owner: session.id,
    subject,
    key: `service/${subject}/${session.id}`,
    value: Buffer.from(JSON.stringify(record)),
    leased: true,
  }
  await storeCall(context.store.put(put))
}
