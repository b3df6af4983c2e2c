import type { ServiceRecord } from '@damon/protocol/records'
import type { Context } from './context.ts'
import type { Session } from './session.ts'
import type { RecordValue } from './store.ts'

/** After this a record that the store did not take is written again, ms. */
const againMs = 1_000

/** Where it stands who is connected. */
export function serviceKey({ subject, id }: Session): string {
  return `service/${subject}/${id}`
}

/**
 * Writes `service/<name>/<instance>/<session>`: who is connected, from where, in which groups. Never rejects: while the
 * store is away it is tried again.
 */
export async function recordService(session: Session, context: Context): Promise<void> {
  const { subject } = session
  const record = recordOf(session, context)
  try {
    await context.store.put({
      owner: session.id,
      subject,
      key: serviceKey(session),
      value: bytesOf(record),
      leased: true,
    })
  } catch {
    setTimeout(() => session.isClosed || recordService(session, context), againMs).unref()
  }
}

/** The session goes on, perhaps here for the first time: its record is written anew only where it says something else now. */
export async function recordResumed(session: Session, context: Context): Promise<void> {
  const before = context.replica.get(serviceKey(session))
  const since = before && sinceOf(before.value)
  if (since !== undefined) session.since = since
  const same = before?.value === bytesOf(recordOf(session, context))
  if (!same || before?.state === 'suspect') await recordService(session, context)
}

function recordOf({ version, since, address, groupNames }: Session, context: Context): ServiceRecord {
  return { version, groups: groupNames, since, worker: context.publisher.origin, address }
}

function bytesOf(record: ServiceRecord): RecordValue {
  return Buffer.from(JSON.stringify(record)).toString('latin1')
}

function sinceOf(value: RecordValue): number | undefined {
  const { since } = JSON.parse(Buffer.from(value, 'latin1').toString()) as Partial<ServiceRecord>
  return since
}
