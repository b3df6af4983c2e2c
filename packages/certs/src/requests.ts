import { damonError } from '@damon/protocol/errors'
import { z } from 'zod'
import { type RevocationReason, revocationReasons } from './issuer.ts'

const reasons = Object.keys(revocationReasons) as [RevocationReason, ...RevocationReason[]]

const one = z.object({ id: z.string() })
const revoke = z.object({ id: z.string(), reason: z.enum(reasons) })

/** What `certs.why` asks for. Throws `bad_field`. */
export function readWhy(value: unknown): z.output<typeof one> {
  return read(one, value)
}

/** What `certs.revoke` asks for. Throws `bad_field`. */
export function readRevoke(value: unknown): z.output<typeof revoke> {
  return read(revoke, value)
}

function read<T>(schema: z.ZodType<T>, value: unknown): T {
  const { data, error } = schema.safeParse(value)
  if (data !== undefined) return data
  const issue = error?.issues[0]
  const field = issue?.path.join('.') || 'value'
  throw damonError('bad_field', `${field}: ${issue?.message}.`, { field })
}
