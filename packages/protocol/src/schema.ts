import * as z from 'zod/mini'
import { damonError } from './errors.ts'
import { clientControl, hubControl } from './frames.ts'

const tables = { client: clientControl, hub: hubControl } as const

/** Which side made a frame. */
export type Side = keyof typeof tables

/**
 * Checks the fields of a control frame and returns only the known ones.
 * @throws DamonError `bad_frame` for an unknown type, `bad_field` naming the first bad field
 */
export function checkControl(side: Side, type: string, fields: unknown): Record<string, unknown> {
  const table: Record<string, z.ZodMiniType> = tables[side]
  const schema = Object.hasOwn(table, type) ? table[type] : undefined
  if (!schema) throw damonError('bad_frame', `Unknown frame type ${JSON.stringify(type.slice(0, 32))}.`)
  const result = z.safeParse(schema, fields)
  if (result.success) return result.data as Record<string, unknown>
  const issue = result.error.issues[0]
  const field = issue?.path.join('.') || 'frame'
  throw damonError('bad_field', `${type}.${field}: ${issue?.message ?? 'is not valid'}.`, { field })
}
