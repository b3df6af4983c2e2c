import { type CloseName, closeName, mayReconnect } from '@damon/protocol/closes'
import { type DamonError, damonError, type ErrorCode, isErrorCode } from '@damon/protocol/errors'
import type { HubControlFrame } from '@damon/protocol/frames'

type ErrorFrame = Extract<HubControlFrame, { type: 'error' }>

/** The error that an `error` frame tells of. A code of a newer hub becomes the nearest that says whether to retry. */
export function refusal({ code, message, retry, field }: ErrorFrame): DamonError {
  const known: ErrorCode = isErrorCode(code) ? code : retry ? 'unavailable' : 'denied'
  const detail = isErrorCode(code) ? message : `${code}: ${message}`
  // The hub's own text begins with what is particular here, or is the table's advice and nothing else.
  const particular = detail.replace(damonError(known).message, '').trim()
  return damonError(known, `The hub says: ${particular || code}.`.replace(/\.\.$/, '.'), { field })
}

const closeErrors: Partial<Record<CloseName, ErrorCode>> = {
  hello_timeout: 'hello_timeout',
  overloaded: 'overloaded',
  internal: 'internal',
  unavailable: 'unavailable',
  bye: 'closed',
  bad_frame: 'bad_frame',
  too_large: 'too_large',
  unauthorized: 'bad_token',
  token_expired: 'token_expired',
  token_revoked: 'token_revoked',
}

/** Why a connection ended: in a word for programs, as an error, and whether dialling again can help. */
export interface LineEnd {
  /** A name of the table of close codes, or `unreachable`, `lost`, `silent`, `garbled`, `handshake`, `goaway`. */
  reason: string
  error: DamonError
  retry: boolean
  /** The hub asked not to be dialled sooner, in ms. */
  retryAfterMs?: number | undefined
}

/** What a WebSocket's close event says about the end of a connection. */
export function closed(code: number, text: string, wasOpen: boolean, cause: unknown): LineEnd {
  const name = closeName(code)
  const retry = mayReconnect(code)
  const why = text || (cause instanceof Error ? cause.message : '')
  const detail = name
    ? `The hub closed the connection (${code} ${name}${text && text !== name ? `: ${text}` : ''}).`
    : wasOpen
      ? `The connection ended (${code}${why ? `: ${why}` : ''}).`
      : `The hub cannot be reached${why ? `: ${why}` : ''}.`
  const error = damonError((name && closeErrors[name]) ?? (retry ? 'disconnected' : 'denied'), detail, { cause })
  return { reason: name ?? (wasOpen ? 'lost' : 'unreachable'), error, retry }
}
