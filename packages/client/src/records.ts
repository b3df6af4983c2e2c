import { damonError } from '@damon/protocol/errors'
import { limits } from '@damon/protocol/limits'
import { isKey, isPrefix } from '@damon/protocol/names'
import type { Calls } from './calls.ts'
import { type RecordEntry, recordEntry } from './record-entry.ts'
import { encodeValue } from './values.ts'

/** What a record became by a write. */
export interface Written {
  revision: number
  generation: number
}

/** How a record is put. */
export interface PutOptions {
  /** It lives as long as this client's session. Without: until it is dropped. */
  lease?: boolean
  /** Only if it has this revision; 0: only if there is none. Else `conflict`. */
  expect?: number
  /** The generation that this writer last owned: `conflict` when another has owned the record since. */
  generation?: number | undefined
}

/** Reads and writes records, one call each. */
export class Records {
  readonly #calls: Calls

  constructor(calls: Calls) {
    this.#calls = calls
  }

  async get(key: string): Promise<RecordEntry | undefined> {
    checkKey(key)
    const { entries } = await this.#calls.call((id) => ({ type: 'get', id, key }), { repeat: true })
    return entries.map((entry) => recordEntry(entry))[0]
  }

  async list(prefix: string): Promise<RecordEntry[]> {
    checkPrefix(prefix)
    const { entries } = await this.#calls.call((id) => ({ type: 'list', id, prefix }), { repeat: true })
    return entries.map((entry) => recordEntry(entry))
  }

  async put(key: string, value: unknown, options: PutOptions = {}): Promise<Written> {
    return this.putBytes(key, encodeRecord(value), options)
  }

  async patch(key: string, value: unknown): Promise<Written> {
    return this.patchBytes(key, encodeRecord(value))
  }

  /** As `put`, for a value that is encoded already. */
  async putBytes(key: string, payload: Uint8Array, options: PutOptions): Promise<Written> {
    checkKey(key)
    const { ack } = await this.#calls.call((id) => ({ ...options, type: 'put', id, key, payload }), {
      repeat: false,
    })
    return { revision: ack?.revision ?? 0, generation: ack?.generation ?? 0 }
  }

  /** As `patch`, for a value that is encoded already. */
  async patchBytes(key: string, payload: Uint8Array): Promise<Written> {
    checkKey(key)
    const { ack } = await this.#calls.call((id) => ({ type: 'patch', id, key, payload }), { repeat: false })
    return { revision: ack?.revision ?? 0, generation: ack?.generation ?? 0 }
  }

  async drop(key: string, reason: string, expect?: number): Promise<void> {
    checkKey(key)
    const short = reason.slice(0, limits.reasonBytes)
    await this.#calls.call((id) => ({ type: 'drop', id, key, reason: short, expect }), { repeat: false })
  }
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
