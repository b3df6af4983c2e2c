import { DamonError, damonError } from '@damon/protocol/errors'
import type { Verdict, VerdictFrame } from '@damon/protocol/frames'
import { accept, type Schema } from './contract.ts'
import { decodeText, decodeValue } from './values.ts'

/** Who it is about. */
export interface Party {
  service: string
  /** Instance of the service; empty, like `session`, when the verdict `unknown` stands for receivers nobody can name any more. */
  client: string
  session: string
}

/** What went wrong, in the receiver's or the hub's words, or in those of this client when it cannot take an answer. */
export interface AnswerError {
  code: string
  message: string
  /** Path of the field that does not accept, with `bad_payload`. */
  field?: string
}

/** The final word on one receiver of a request. */
export type Answer<T = unknown> = Party &
  (
    | { verdict: 'answered'; value: T; error?: undefined }
    | { verdict: Exclude<Verdict, 'answered'>; value?: undefined; error?: AnswerError }
  )

/** A piece of an answer, before the final word of that receiver. */
export type AnswerPart<T = unknown> = Party & { value: T }

/** What a verdict says. An answer that is not JSON, or that the schema does not take, becomes `failed`. */
export function answerOf(frame: VerdictFrame, schema: Schema | undefined): Answer {
  const { session, from, verdict, code, payload } = frame
  const party = { ...partyOf(from), session }
  if (verdict === 'answered') {
    try {
      const value = decodeValue(frame)
      return { ...party, verdict, value: schema ? accept(schema, value) : value }
    } catch (error) {
      return { ...party, verdict: 'failed', error: refused(error) }
    }
  }
  if (code === '' && verdict !== 'failed') return { ...party, verdict }
  return { ...party, verdict, error: said(code || 'handler_failed', decodeText(payload)) }
}

/** The word on receivers whom nobody can name any more. */
export function unknownAnswer(cause: unknown): Answer {
  const { code, message } = damonError('unknown_outcome', undefined, { cause })
  return { service: '', client: '', session: '', verdict: 'unknown', error: { code, message } }
}

/** Splits `SERVICE/INSTANCE`. */
export function partyOf(from: string): { service: string; client: string } {
  const [service = '', client = ''] = from.split('/')
  return { service, client }
}

function refused(error: unknown): AnswerError {
  if (!(error instanceof DamonError)) return { code: 'bad_payload', message: String(error) }
  const { code, message, field } = error
  return field === undefined ? { code, message } : { code, message, field }
}

/** The text of `bad_payload` begins with the path of the field. */
function said(code: string, message: string): AnswerError {
  const field = code === 'bad_payload' ? /^([^:]+): /.exec(message)?.[1] : undefined
  return field === undefined ? { code, message } : { code, message, field }
}
