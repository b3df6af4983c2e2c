import type { Rights } from '@damon/trust/capabilities'
import type { Context } from './context.ts'
import { storeCall } from './handlers/store-call.ts'
import type { Session } from './session.ts'

/**
 * Drops the leased records of a session that these rights do not allow it to write any more, as `denied`. Says whether there
 * were any.
 * @throws DamonError `unavailable`
 */
export async function dropForbidden(session: Session, rights: Rights, { store }: Context): Promise<boolean> {
  const forbidden = [...session.leases].filter((key) => !rights.may('put', key))
  for (const key of forbidden) {
    // Only its own: another session of the subject may have the record by now, with a token that allows it.
    await storeCall(store.drop({ owner: session.id, subject: '', key, reason: 'denied' }))
    session.leases.delete(key)
  }
  return forbidden.length > 0
}
