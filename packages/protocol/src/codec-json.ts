import * as z from 'zod/mini'
import { damonError } from './errors.ts'
import { type ClientFrame, frameNumbers, type HubFrame, replyVerdicts, verdicts } from './frames.ts'
import { isSession } from './names.ts'
import { checkControl, checkFields, checkPayload, type Side } from './schema.ts'

// damon.v1.json: one JSON object per text message. A payload is the string `text` where it is valid UTF-8, else `base64`.
const encoder = new TextEncoder()
const nothing = new Uint8Array()
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const u32 = z.int().check(z.nonnegative(), z.maximum(0xffffffff))
const u48 = z.int().check(z.nonnegative(), z.maximum(2 ** 48 - 1))
const off = z._default(z.boolean(), false)
const name = z.string().check(z.regex(/^[\x20-\x7e]{0,255}$/, 'is no name of printable ASCII'))
const session = z.string().check(z.refine(isSession, 'is no session: 16 hex digits'))

const send = { number: u32, again: off, any: off, bytes: off, to: name, event: name }
const reply = { number: u32, again: off, bytes: off, session, request: u32 }
const verdict = {
  ...{ again: off, bytes: off, late: off },
  ...{ origin: u32, seq: u48, number: z._default(u32, 0), request: u32, session, from: name },
}

/** The fields of frequent frames, beside `type` and the payload that all of them carry. */
export const dataFrames: Record<Side, Record<string, z.ZodMiniType>> = {
  client: {
    send: z.object(send),
    request: z.object({
      ...send,
      idempotent: off,
      deadline: z._default(u32, 0),
      quorum: z._default(z.int().check(z.nonnegative(), z.maximum(0xffff)), 0),
    }),
    reply: z.object({ ...reply, verdict: z.enum(replyVerdicts), code: z._default(name, '') }),
    part: z.object(reply),
  },
  hub: {
    message: z.object({
      again: off,
      any: off,
      bytes: off,
      late: off,
      request: off,
      deadline: z._default(u32, 0),
      origin: u32,
      seq: u48,
      number: u32,
      session,
      from: name,
      to: name,
      event: name,
    }),
    verdict: z.object({ ...verdict, verdict: z.enum(verdicts), code: z._default(name, '') }),
    part: z.object(verdict),
  },
}

function toBase64(bytes: Uint8Array): string {
  let text = ''
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000))
  return btoa(text)
}

function fromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
  } catch (cause) {
    throw damonError('bad_field', 'base64: is not base64.', { field: 'base64', cause })
  }
}

function payloadFields(payload: Uint8Array): { text: string } | { base64: string } {
  try {
    return { text: strict.decode(payload) }
  } catch {
    return { base64: toBase64(payload) }
  }
}

function payloadOf(object: Record<string, unknown>): Uint8Array {
  const { text, base64 } = object
  if (text !== undefined && base64 !== undefined)
    throw damonError('bad_field', 'text: either text or base64, not both.', { field: 'text' })
  if (base64 !== undefined) {
    if (typeof base64 !== 'string') throw damonError('bad_field', 'base64: is no string.', { field: 'base64' })
    return fromBase64(base64)
  }
  if (text === undefined) return nothing
  if (typeof text !== 'string') throw damonError('bad_field', 'text: is no string.', { field: 'text' })
  if (!text.isWellFormed()) throw damonError('bad_field', 'text: holds half a character.', { field: 'text' })
  return encoder.encode(text)
}

function dataSchema(side: Side, type: string): z.ZodMiniType | undefined {
  return Object.hasOwn(dataFrames[side], type) ? dataFrames[side][type] : undefined
}

function encode(side: Side, frame: ClientFrame | HubFrame): string {
  const { payload = nothing, ...fields } = frame as { type: string; payload?: Uint8Array | undefined }
  const data = dataSchema(side, frame.type)
  if (data) checkFields(data, frame.type, frame)
  else if (!Object.hasOwn(frameNumbers[side], frame.type))
    throw damonError('bad_frame', `Unknown frame type ${JSON.stringify(frame.type)}.`)
  else checkPayload(side, frame, payload)
  if (frame.type !== 'records')
    return JSON.stringify(payload.length === 0 ? fields : { ...fields, ...payloadFields(payload) })
  let at = 0
  const entries = frame.entries.map(({ size, ...entry }) => {
    const value = payload.subarray(at, at + size)
    at += size
    return size === 0 ? entry : { ...entry, ...payloadFields(value) }
  })
  return JSON.stringify({ ...fields, entries })
}

function recordsOf(object: Record<string, unknown>): Record<string, unknown> {
  if (!Array.isArray(object.entries)) return checkControl('hub', 'records', object, nothing)
  const values = object.entries.map((entry) => payloadOf(Object(entry)))
  const entries = object.entries.map((entry, i) => ({ ...Object(entry), size: values[i]?.length ?? 0 }))
  const payload = new Uint8Array(values.reduce((sum, value) => sum + value.length, 0))
  let at = 0
  for (const value of values) {
    payload.set(value, at)
    at += value.length
  }
  return checkControl('hub', 'records', { ...object, entries }, payload)
}

function decode(side: Side, text: string): Record<string, unknown> {
  let object: unknown
  try {
    object = JSON.parse(text)
  } catch (cause) {
    throw damonError('bad_frame', 'The frame is not JSON.', { cause })
  }
  if (typeof object !== 'object' || object === null || Array.isArray(object) || !('type' in object))
    throw damonError('bad_frame', 'The frame is no object with a type.')
  const { type, ...fields } = object as { type: unknown } & Record<string, unknown>
  if (typeof type !== 'string') throw damonError('bad_field', 'type: is no string.', { field: 'type' })
  const data = dataSchema(side, type)
  if (data) return { type, ...checkFields(data, type, fields), payload: payloadOf(fields) }
  if (side === 'hub' && type === 'records') return recordsOf(fields)
  return checkControl(side, type, fields, payloadOf(fields))
}

/**
 * Encodes a client's frame as `damon.v1.json`.
 * @throws DamonError `bad_field` for what no receiver would take
 */
export function encodeClientText(frame: ClientFrame): string {
  return encode('client', frame)
}

/**
 * Encodes a frame of the hub as `damon.v1.json`.
 * @throws DamonError `bad_field` for what no receiver would take
 */
export function encodeHubText(frame: HubFrame): string {
  return encode('hub', frame)
}

/**
 * Decodes a client's `damon.v1.json` frame.
 * @throws DamonError `bad_frame`, or `bad_field` naming the field
 */
export function decodeClientText(text: string): ClientFrame {
  return decode('client', text) as unknown as ClientFrame
}

/**
 * Decodes a frame of the hub from `damon.v1.json`.
 * @throws DamonError `bad_frame`, or `bad_field` naming the field
 */
export function decodeHubText(text: string): HubFrame {
  return decode('hub', text) as unknown as HubFrame
}
