import { DamonError } from '@damon/protocol/errors'
import type { HubControlFrame, RecordEntryMeta } from '@damon/protocol/frames'
import { accept, type Schema } from './contract.ts'
import { decodeRecordValue } from './values.ts'

/** A record as the hub has it. */
export interface RecordEntry<T = unknown> {
  key: string
  /** Its JSON, or its bytes where they are none. Check it with the schema of its kind: the hub never looks inside. */
  value: T
  bytes: Uint8Array
  /** Rises with every change of any record. */
  revision: number
  /** The revision at which its present owner got it: a later owner's is higher. */
  generation: number
  /** `suspect`: its owner is gone and may return within the grace. */
  state: 'live' | 'suspect'
  leased: boolean
}

/** One entry of a `records` frame with its bytes. */
export interface RecordFrameEntry {
  meta: RecordEntryMeta
  bytes: Uint8Array
}

/** Takes a `records` frame apart; its codec has checked that the sizes fill the payload. */
export function readEntries({
  entries,
  payload = new Uint8Array(),
}: Extract<HubControlFrame, { type: 'records' }>): RecordFrameEntry[] {
  let at = 0
  return entries.map((meta) => {
    at += meta.size
    return { meta, bytes: payload.subarray(at - meta.size, at) }
  })
}

/** The record that an entry tells of; `known` is what was known of its key, whose value a change to suspect may omit. */
export function recordEntry({ meta, bytes }: RecordFrameEntry, known?: RecordEntry): RecordEntry {
  const { key, change, revision, generation, leased } = meta
  const same = change === 'suspect' && bytes.length === 0 && known
  const value = same ? { value: known.value, bytes: known.bytes } : { value: decodeRecordValue(bytes), bytes }
  return { key, ...value, revision, generation, leased, state: change === 'suspect' ? 'suspect' : 'live' }
}

/** The record with what the schema makes of its value. Throws `bad_payload`, whose text begins with the key. */
export function acceptEntry(entry: RecordEntry, schema: Schema | undefined): RecordEntry {
  if (!schema) return entry
  try {
    return { ...entry, value: accept(schema, entry.value) }
  } catch (cause) {
    if (!(cause instanceof DamonError)) throw cause
    throw new DamonError(cause.code, `${entry.key}: ${cause.message}`, { field: cause.field, cause })
  }
}
