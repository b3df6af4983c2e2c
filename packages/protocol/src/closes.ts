/**
 * Why a connection is closed, and whether calling again can help: 3000-3499 connect again, 3500-3999 do not.
 * `docs/protocol.md` lists the same table, held to it by a test.
 */
export const closes = {
  restarting: { code: 3000, retry: true, message: 'The worker restarts. Connect again.' },
  silent: { code: 3001, retry: true, message: 'Nothing was heard for one and a half heartbeats.' },
  slow_consumer: { code: 3002, retry: true, message: 'The connection did not take what was sent to it.' },
  hello_timeout: { code: 3003, retry: true, message: 'No hello came in time.' },
  overloaded: { code: 3004, retry: true, message: 'The hub is at its limit.' },
  internal: { code: 3005, retry: true, message: 'The hub made a mistake. It was logged.' },
  unavailable: { code: 3006, retry: true, message: 'The hub cannot reach its store.' },
  rights_changed: { code: 3007, retry: true, message: 'The rights of the token changed. Connect again.' },
  rate_limited: { code: 3008, retry: true, message: 'More came than the rate of the token allows, for too long.' },
  replaced: { code: 3009, retry: true, message: 'The session goes on on another connection.' },
  bye: { code: 3500, retry: false, message: 'The client said bye.' },
  bad_frame: { code: 3501, retry: false, message: 'A frame could not be decoded or was not allowed then.' },
  too_large: { code: 3502, retry: false, message: 'A frame was larger than allowed.' },
  unauthorized: { code: 3503, retry: false, message: 'The token or its proof was refused.' },
  token_expired: { code: 3504, retry: false, message: 'The token expired.' },
  token_revoked: { code: 3505, retry: false, message: 'The token was revoked.' },
} as const satisfies Record<string, { code: number; retry: boolean; message: string }>

/** A name in the table of close codes. */
export type CloseName = keyof typeof closes

const byCode = new Map<number, CloseName>((Object.keys(closes) as CloseName[]).map((name) => [closes[name].code, name]))

/** The name of a close code of this table, or undefined for any other (1000-2999 belong to RFC 6455). */
export function closeName(code: number): CloseName | undefined {
  return byCode.get(code)
}

/** Whether connecting again after this close code can help; codes outside the table are line trouble, so yes. */
export function mayReconnect(code: number): boolean {
  return code < 3500 || code > 3999
}
