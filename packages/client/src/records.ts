import { damonError } from '@damon/protocol/errors'
import { limits } from '@damon/protocol/limits'
import { isKey, isPrefix } from '@damon/protocol/names'
import type { Calls } from './calls.ts'
import type { RecordContract, Schema } from './contract.ts'
import { acceptEntry, type RecordEntry, type RecordFrameEntry, recordEntry } from './record-entry.ts'
import { encodeValue } from './values.ts'

/** What a record became by a write. */
export interface Written {
  revision: number
  generation: number
}

/** How long a call on records may take beside what holds for all. */
export interface CallOptions {
  /** Rejects with the signal's reason at once. What was sent may still be done. */
  signal?: AbortSignal | undefined
}

/** How a record is put. */
export interface PutOptions extends CallOptions {
  /** It lives as long as this client's session. Without: until it is dropped. */
  lease?: boolean
  /** Only if it has this revision; 0: only if there is none. Else `conflict`. */
  expect?: number
  /** The generation that this writer last owned: `conflict` when another has owned the record since. */
  generation?: number | undefined
}

/** How a record is dropped. */
export interface DropOptions extends CallOptions {
  /** Only if it has this revision. Else `conflict`. */
  expect?: number | undefined
}

/** What most parts of a service need of a hub's records: by key, without contracts. A `Hub` is one. */
export interface RecordStore {
  get(key: string): Promise<RecordEntry | undefined>
  list(prefix: string): Promise<RecordEntry[]>
  put(key: string, value: unknown, options?: PutOptions): Promise<Written>
}

/** Reads and writes records, one call each. */
export class Records {
  readonly #calls: Calls
  readonly #report: (error: unknown) => void

  constructor(calls: Calls, report: (error: unknown) => void) {
    this.#calls = calls
    this.#report = report
  }

  async get(record: string | RecordContract, { signal }: CallOptions = {}): Promise<RecordEntry | undefined> {
    const key = keyOf(record)
    checkKey(key)
    const { entries } = await this.#calls.call((id) => ({ type: 'get', id, key }), { repeat: true, signal })
    const [entry] = entries
    return entry && acceptEntry(recordEntry(entry), schemaOf(record))
  }

  async list(records: string | RecordContract, { signal }: CallOptions = {}): Promise<RecordEntry[]> {
    const prefix = keyOf(records)
    checkPrefix(prefix)
    const { entries } = await this.#calls.call((id) => ({ type: 'list', id, prefix }), { repeat: true, signal })
    return this.#read(records, entries)
  }

  async put(record: string | RecordContract, value: unknown, options: PutOptions = {}): Promise<Written> {
    return this.putBytes(keyOf(record), encodeRecord(value), options)
  }

  async patch(record: string | RecordContract, value: unknown, options: CallOptions = {}): Promise<Written> {
    return this.patchBytes(keyOf(record), encodeRecord(value), options)
  }

  /** As `put`, for a value that is encoded already. */
  async putBytes(key: string, payload: Uint8Array, { signal, ...options }: PutOptions): Promise<Written> {
    checkKey(key)
    const { ack } = await this.#calls.call((id) => ({ ...options, type: 'put', id, key, payload }), {
      repeat: false,
      signal,
    })
    return { revision: ack?.revision ?? 0, generation: ack?.generation ?? 0 }
  }

  /** As `patch`, for a value that is encoded already. */
  async patchBytes(key: string, payload: Uint8Array, { signal }: CallOptions = {}): Promise<Written> {
    checkKey(key)
    const { ack } = await this.#calls.call((id) => ({ type: 'patch', id, key, payload }), { repeat: false, signal })
    return { revision: ack?.revision ?? 0, generation: ack?.generation ?? 0 }
  }

  async drop(record: string | RecordContract, reason: string, { expect, signal }: DropOptions = {}): Promise<void> {
    const key = keyOf(record)
    checkKey(key)
    const short = reason.slice(0, limits.reasonBytes)
    await this.#calls.call((id) => ({ type: 'drop', id, key, reason: short, expect }), { repeat: false, signal })
  }

  /** The records that are as their contract says; the others are reported, and left out. */
  #read(records: string | RecordContract, entries: RecordFrameEntry[]): RecordEntry[] {
    return entries.flatMap((entry) => {
      try {
        return [acceptEntry(recordEntry(entry), schemaOf(records))]
      } catch (error) {
        this.#report(error)
        return []
      }
    })
  }
}

/** The key that is meant, or the prefix. */
export function keyOf(record: string | RecordContract): string {
  return typeof record === 'string' ? record : record.key
}

/** What its value must be; undefined: anything. */
export function schemaOf(record: string | RecordContract): Schema | undefined {
  return typeof record === 'string' ? undefined : record.value
}

/** Throws `bad_field` for what is no record key. */
export function checkKey(key: string): void {
  if (!isKey(key)) throw damonError('bad_field', `key: "${key}" is no record key.`, { field: 'key' })
}

/** Throws `bad_field` for what cannot be watched or listed. */
export function checkPrefix(prefix: string): void {
  if (!isPrefix(prefix)) throw damonError('bad_field', `prefix: "${prefix}" is no prefix.`, { field: 'prefix' })
}

/** A record's value as it is stored. Throws `too_large`, and `bad_field` for what JSON cannot say. */
export function encodeRecord(value: unknown): Uint8Array {
  const { payload } = encodeValue(value)
  if (payload.length > limits.recordBytes)
    throw damonError('too_large', `${payload.length} of at most ${limits.recordBytes} bytes.`, { field: 'value' })
  return payload
}
