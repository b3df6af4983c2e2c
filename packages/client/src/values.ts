import { damonError } from '@damon/protocol/errors'

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

/** A value as it travels: bytes as they are, everything else as JSON text, undefined as nothing. */
export interface EncodedValue {
  bytes: boolean
  payload: Uint8Array
}

/** Encodes a value. Bytes are copied, so that the caller may use the array again. Throws `bad_field` for what JSON cannot say. */
export function encodeValue(value: unknown): EncodedValue {
  if (value instanceof Uint8Array) return { bytes: true, payload: new Uint8Array(value) }
  if (value === undefined) return { bytes: false, payload: new Uint8Array() }
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (cause) {
    throw damonError('bad_field', 'value: cannot be written as JSON.', { field: 'value', cause })
  }
  if (text === undefined)
    throw damonError('bad_field', `value: a ${typeof value} cannot be written as JSON.`, { field: 'value' })
  return { bytes: false, payload: encoder.encode(text) }
}

/** Decodes a value. Throws `bad_field` when text is not JSON. */
export function decodeValue({ bytes, payload }: EncodedValue): unknown {
  if (bytes) return payload
  if (payload.length === 0) return undefined
  try {
    return JSON.parse(decoder.decode(payload))
  } catch (cause) {
    throw damonError('bad_field', 'payload: is not JSON.', { field: 'payload', cause })
  }
}

/** A record's value: JSON where it is that, else its bytes; records do not say which. */
export function decodeRecordValue(payload: Uint8Array): unknown {
  try {
    return decodeValue({ bytes: false, payload })
  } catch {
    return payload
  }
}

/** Encodes plain text, such as the message of an error, cut to `maxBytes`. */
export function encodeText(text: string, maxBytes: number): Uint8Array {
  const bytes = encoder.encode(text)
  if (bytes.length <= maxBytes) return bytes
  let end = maxBytes
  // Never in the middle of a character: bytes 10xxxxxx continue one.
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--
  return bytes.subarray(0, end)
}

/** Decodes plain text, with a replacement character for what is none. */
export function decodeText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes)
}
