import { damonError } from '@damon/protocol/errors'
import { isEvent, isPrefix } from '@damon/protocol/names'
import type { StandardSchemaV1 } from '@standard-schema/spec'

/** A schema of any library that speaks Standard Schema (zod, valibot, arktype, …). It MUST check without waiting. */
export type Schema = StandardSchemaV1<unknown, unknown>
/** What is given to be sent. */
export type InputOf<S extends Schema> = StandardSchemaV1.InferInput<S>
/** What comes out where it is received. */
export type OutputOf<S extends Schema> = StandardSchemaV1.InferOutput<S>

/** The same as any library's schema of these types: a contract shows what it is about, not what it was made with. */
export type Plain<S extends Schema> = StandardSchemaV1<InputOf<S>, OutputOf<S>>

/** A message that its senders and its receivers understand alike. */
export interface EventContract<Value extends Schema = Schema> {
  readonly event: string
  readonly value: Value
}

/** A request, its answer, and the pieces that may go ahead of that. */
export interface RequestContract<
  Asks extends Schema = Schema,
  Answers extends Schema = Schema,
  Parts extends Schema = Schema,
> {
  readonly event: string
  readonly asks: Asks
  readonly answers: Answers
  readonly parts?: Parts | undefined
}

/** A record, or with a key that ends in `/` all records below it. */
export interface RecordContract<Value extends Schema = Schema> {
  readonly key: string
  readonly value: Value
  /** The one record with this name below the key. Throws `bad_field` for what is no key. */
  at(name: string): RecordContract<Value>
}

/** Says what a message carries. Throws `bad_field` for what is no event. */
export function defineEvent<Value extends Schema>(event: string, value: Value): EventContract<Plain<Value>> {
  checkEvent(event)
  return { event, value: value as Plain<Value> }
}

/** Says what a request asks and what it is answered with. Throws `bad_field` for what is no event. */
export function defineRequest<Asks extends Schema, Answers extends Schema, Parts extends Schema = Schema>(
  event: string,
  contract: { asks: Asks; answers: Answers; parts?: Parts },
): RequestContract<Plain<Asks>, Plain<Answers>, Plain<Parts>> {
  checkEvent(event)
  return { event, ...contract } as RequestContract<Plain<Asks>, Plain<Answers>, Plain<Parts>>
}

/** Says what the record with a key holds, or each record below a key that ends in `/`. Throws `bad_field` for what is no key. */
export function defineRecord<Value extends Schema>(key: string, value: Value): RecordContract<Plain<Value>> {
  if (!isPrefix(key)) throw damonError('bad_field', `key: "${key}" is no record key.`, { field: 'key' })
  return { key, value: value as Plain<Value>, at: (name) => defineRecord<Value>(`${key}${name}`, value) }
}

/**
 * What a schema makes of a value that came. Throws `bad_payload` with the path of the first field that does not fit
 * (`value` for the whole), and `TypeError` for a schema that would have to be waited for.
 */
export function accept<S extends Schema>(schema: S, value: unknown): OutputOf<S> {
  const result = schema['~standard'].validate(value)
  if (result instanceof Promise) throw new TypeError('A schema that checks asynchronously cannot be used here.')
  if (!result.issues) return result.value as OutputOf<S>
  const [issue] = result.issues
  const path = issue?.path?.map((step) => String(typeof step === 'object' ? step.key : step))
  const field = path?.join('.') || 'value'
  throw damonError('bad_payload', `${field}: ${issue?.message.replace(/\.$/, '') ?? 'does not fit'}.`, { field })
}

/** Throws `bad_field` for what is no event. */
export function checkEvent(event: string): void {
  if (!isEvent(event)) throw damonError('bad_field', `event: "${event}" is no event.`, { field: 'event' })
}
