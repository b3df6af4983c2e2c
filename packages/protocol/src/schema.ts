import * as z from 'zod/mini'
import { damonError } from './errors.ts'
import { clientControl, hubControl, type RecordEntryMeta, withPayload } from './frames.ts'

const tables = { client: clientControl, hub: hubControl } as const

/** Which side made a frame. */
export type Side = keyof typeof tables

/**
 * Checks the fields of a frame and returns only the known ones.
 * @throws DamonError `bad_field` naming the first bad one
 */
export function checkFields(schema: z.ZodMiniType, type: string, fields: unknown): Record<string, unknown> {
  const result = z.safeParse(schema, fields)
  if (result.success) return result.data as Record<string, unknown>
  const issue = result.error.issues[0]
  const field = issue?.path.join('.') || 'frame'
  throw damonError('bad_field', `${type}.${field}: ${issue?.message ?? 'is not valid'}.`, { field })
}

/**
 * Makes a control frame of fields and payload, both checked.
 * @throws DamonError `bad_frame` for an unknown type, `bad_field` naming the first bad field
 */
export function checkControl(
  side: Side,
  type: string,
  fields: unknown,
  payload: Uint8Array,
): { type: string } & Record<string, unknown> {
  const table: Record<string, z.ZodMiniType> = tables[side]
  const schema = Object.hasOwn(table, type) ? table[type] : undefined
  if (!schema) throw damonError('bad_frame', `Unknown frame type ${JSON.stringify(type.slice(0, 32))}.`)
  const frame = { type, ...checkFields(schema, type, fields) }
  checkPayload(side, frame, payload)
  return withPayload[side].has(type) ? { ...frame, payload } : frame
}

/**
 * Checks that a control frame may carry this payload, and that the sizes of records fill it.
 * @throws DamonError `bad_field`
 */
export function checkPayload(
  side: Side,
  frame: { type: string; entries?: readonly Pick<RecordEntryMeta, 'size'>[] },
  payload: Uint8Array,
): void {
  const { type } = frame
  if (payload.length > 0 && !withPayload[side].has(type))
    throw damonError('bad_field', `${type}.payload: this frame carries none.`, { field: 'payload' })
  if (type !== 'records' || !frame.entries) return
  const size = frame.entries.reduce((sum, entry) => sum + entry.size, 0)
  if (size !== payload.length)
    throw damonError('bad_field', `records.entries: sizes of ${size} bytes, but ${payload.length} follow.`, {
      field: 'entries',
    })
}
