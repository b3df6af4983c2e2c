/**
 * Every error that crosses the wire: what it is called, whether the same call may succeed later, and what to do next.
 * `docs/protocol.md` lists the same table, held to it by a test.
 */
export const errors = {
  // identity
  bad_credential: {
    retry: false,
    message: 'The connection file is not valid. Mint a new one with `damon token mint`.',
  },
  bad_trust_list: {
    retry: false,
    message: 'The trust list is not signed by the pinned root. Check the root key and the file.',
  },
  bad_token: { retry: false, message: 'The token is malformed or not signed by a listed issuer. Mint a new one.' },
  token_expired: {
    retry: false,
    message: 'The token is outside its time of validity. Mint a new one, or check the clock.',
  },
  token_revoked: { retry: false, message: 'The token was revoked. Mint a new one.' },
  token_beyond_issuer: { retry: false, message: 'The token claims more than its issuer may grant.' },
  proof_required: { retry: false, message: 'The token is bound to a key: the hello must prove that key.' },
  bad_proof: {
    retry: false,
    message: 'The proof does not match the challenge, the dialled host or the key of the token.',
  },
  denied: { retry: false, message: 'The token has no capability for this.' },
  // frames
  bad_frame: { retry: false, message: 'The frame cannot be decoded.' },
  bad_field: { retry: false, message: 'A field of the frame is missing or out of range.' },
  unexpected_frame: { retry: false, message: 'This frame is not allowed now.' },
  too_large: { retry: false, message: 'The frame or value exceeds the limit.' },
  hello_timeout: { retry: true, message: 'No hello came in time.' },
  // what the hub cannot do
  unavailable: {
    retry: true,
    message: 'Not confirmed: members on this worker may have it, others perhaps. Try again later.',
  },
  overloaded: { retry: true, message: 'The hub is at its limit. Try again later.' },
  rate_limited: { retry: true, message: 'Too much in too little time. Slow down.' },
  no_receiver: { retry: true, message: 'Nobody is there to receive it.' },
  limit_reached: { retry: false, message: 'The session already has as many of these as it may have.' },
  internal: { retry: true, message: 'The hub made a mistake. It was logged.' },
  // requests
  not_addressed: { retry: false, message: 'No such open request waits for an answer of this session.' },
  no_handler: { retry: false, message: 'The receiver has no handler for this event.' },
  bad_payload: { retry: false, message: 'The payload does not fit the schema of its event.' },
  cancelled: { retry: false, message: 'The requester does not need the answer any more.' },
  handler_failed: { retry: false, message: 'The handler threw an error.' },
  // records
  not_found: { retry: false, message: 'There is no such record.' },
  not_owner: { retry: false, message: 'Another owner holds this record.' },
  conflict: { retry: false, message: 'The record has another revision than expected.' },
  // sealed certificates
  bad_reader: { retry: false, message: 'The reader record does not prove its key. It gets no certificate.' },
  bad_envelope: { retry: false, message: 'The sealed certificate is forged, swapped or damaged. It was refused.' },
  stale_envelope: { retry: false, message: 'The sealed certificate is not newer than the one in use. It was refused.' },
  // known only to the client
  closed: { retry: false, message: 'This client was closed.' },
  disconnected: { retry: true, message: 'There is no connection to the hub.' },
  unknown_outcome: { retry: false, message: 'The session could not be resumed: it may or may not have been done.' },
  timed_out: { retry: true, message: 'No answer came in time.' },
} as const satisfies Record<string, { retry: boolean; message: string }>

/** A code of the one error table. */
export type ErrorCode = keyof typeof errors

/** The one error class of the wire: `code` from the table, `field` when one field is to blame, `cause` when another error was. */
export class DamonError extends Error {
  override readonly name = 'DamonError'
  readonly code: ErrorCode
  readonly retry: boolean
  readonly field: string | undefined

  constructor(code: ErrorCode, message: string, options: { field?: string | undefined; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retry = errors[code].retry
    this.field = options.field
  }
}

/** Makes an error of the table; `detail` goes in front of the table's advice. */
export function damonError(
  code: ErrorCode,
  detail?: string,
  options: { field?: string | undefined; cause?: unknown } = {},
): DamonError {
  const advice = errors[code].message
  return new DamonError(code, detail ? `${detail} ${advice}` : advice, options)
}

/** Whether a text from the wire is a code of this table; a newer hub may know more. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(errors, text)
}
