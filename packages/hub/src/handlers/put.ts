import { damonError } from '@damon/protocol/errors'
import { limits } from '@damon/protocol/limits'
import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import type { RecordValue } from '../store.ts'
import type { FrameOf } from './frame.ts'
import { storeCall, written } from './store-call.ts'

/** Writes a record. Answered when this worker's copy has it, so that its writer reads what it wrote. */
export async function put(session: Session, frame: FrameOf<'put'>, context: Context): Promise<void> {
  const { key, expect, generation } = frame
  const value = recordValue(frame.payload)
  checkWrite(session, key)
  const leased = frame.lease ?? false
  if (leased && !session.leases.has(key) && session.leases.size >= limits.recordsPerSession)
    throw damonError('limit_reached', `A session leases at most ${limits.recordsPerSession} records.`)
  const done = written(
    await storeCall(
      context.store.put({
        owner: session.id,
        subject: session.subject,
        key,
        value,
        leased,
        most: limits.keptRecords,
        expect,
        generation,
      }),
    ),
  )
  if (leased) session.leases.add(key)
  else session.leases.delete(key)
  await context.replica.reached(done.revision)
  session.send({ type: 'ack', id: frame.id, ...done })
}

/** A record's value from a frame's payload. @throws DamonError `too_large` */
export function recordValue(payload: Uint8Array = new Uint8Array()): RecordValue {
  if (payload.length > limits.recordBytes)
    throw damonError('too_large', `A record has at most ${limits.recordBytes} bytes.`, { field: 'payload' })
  return Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString('latin1')
}

/** @throws DamonError `denied`, whether or not the record exists */
export function checkWrite(session: Session, key: string): void {
  if (!session.identified.rights.may('put', key))
    throw damonError('denied', `The token does not allow to write ${key}.`, { field: 'key' })
}
