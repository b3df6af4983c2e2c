/** Everything that can go wrong in certs: what it is called, whether a later attempt may succeed by itself, and what to do. */
export const problems = {
  // certificates file
  bad_certificates_file: { retry: false, message: 'Correct the certificates file.' },
  // certificate authority
  ca_unreachable: {
    retry: true,
    message: 'The certificate authority cannot be reached. Check network, directory URL and its CA file.',
  },
  ca_unavailable: { retry: true, message: 'The certificate authority has a problem of its own. It is tried again.' },
  ca_rate_limited: {
    retry: true,
    message: 'A rate limit of the certificate authority is used up. It is tried again when the authority allows.',
  },
  ca_refused: {
    retry: false,
    message: 'The certificate authority refuses this. Read its answer, then correct names, account or terms.',
  },
  ca_refused_name: {
    retry: false,
    message: 'The certificate authority issues nothing for one of the names. Take it out, or use another issuer.',
  },
  ca_refused_profile: {
    retry: false,
    message: 'The certificate authority has no such profile, or not for this account. Correct or drop profile.',
  },
  ca_refused_by_caa: {
    retry: false,
    message: 'A CAA record forbids this authority. Add the authority to the CAA records of the domain.',
  },
  ca_account: {
    retry: false,
    message: 'The account is not accepted. Check externalAccount, email and the terms of the authority.',
  },
  ca_paused: {
    retry: false,
    message: 'The authority has paused these names after too many failures. Cure those, then follow the link it gives.',
  },
  limit_reached: {
    retry: true,
    message: 'One more would break a rate limit of the certificate authority. It is tried again when there is room.',
  },
  challenge_failed: {
    retry: true,
    message: 'The certificate authority did not see the TXT records it asked for. Check the delegation of the zone.',
  },
  bad_issued: {
    retry: true,
    message: 'What was issued does not fit key, names or dates. The previous certificate stays in use.',
  },
  rehearsal_failed: {
    retry: true,
    message: 'The test system of the authority would not issue it either, so the authority itself was not asked.',
  },
  // DNS
  delegation_broken: {
    retry: true,
    message: 'The CNAME records of the challenge name lead nowhere. Correct them, or remove them.',
  },
  zone_not_found: {
    retry: false,
    message: 'No zone of the DNS account holds this name. Add the zone, or correct the name.',
  },
  dns_unauthorized: {
    retry: false,
    message: 'The DNS provider refuses the token. It needs the scopes domain:read, domain:create and domain:delete.',
  },
  dns_refused: { retry: false, message: 'The DNS provider refuses this record.' },
  dns_rate_limited: { retry: true, message: 'The rate limit of the DNS provider is used up.' },
  dns_unavailable: { retry: true, message: 'The DNS provider cannot be reached or has a problem of its own.' },
  not_propagated: {
    retry: true,
    message: 'Not every authoritative server publishes the TXT records. Check the delegation of the zone.',
  },
  // several certs
  lease_lost: {
    retry: true,
    message: 'Another certs has taken this certificate over. Nothing was stored; it is decided anew.',
  },
  // store
  store_damaged: {
    retry: false,
    message:
      'A file of the store cannot be opened: it is damaged, or CERT_STORE_KEY is not the key it was sealed with.',
  },
  store_failed: {
    retry: true,
    message: 'The store cannot be written. Check space and permissions of CERTS_STATE_DIR.',
  },
  // anything else
  failed: { retry: true, message: 'An unexpected error, see its cause.' },
} as const satisfies Record<string, { retry: boolean; message: string }>

/** A code of the table. */
export type ProblemCode = keyof typeof problems

/** What an error knows beside its text. */
export interface ProblemOptions {
  cause?: unknown
  retryAt?: number | undefined
  kind?: string | undefined
}

/** The one error of this service. */
export class CertsError extends Error {
  override readonly name = 'CertsError'
  readonly code: ProblemCode
  readonly retry: boolean
  /** Unix ms before which no attempt can succeed, when the other side said so. */
  readonly retryAt: number | undefined
  /** The authority's own name for it (RFC 8555, 6.7), without the prefix. */
  readonly kind: string | undefined

  constructor(code: ProblemCode, message: string, options: ProblemOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retry = problems[code].retry
    this.retryAt = options.retryAt
    this.kind = options.kind
  }
}

/** Makes an error of the table; `detail` goes in front of the table's advice and MUST NOT hold a secret. */
export function certsError(code: ProblemCode, detail: string, options: ProblemOptions = {}): CertsError {
  return new CertsError(code, `${detail} ${problems[code].message}`, options)
}

/** The error itself if it is of the table, else `failed` with it as its cause. */
export function asCertsError(error: unknown): CertsError {
  if (error instanceof CertsError) return error
  return certsError('failed', error instanceof Error ? error.message : String(error), { cause: error })
}

/** The two halves of an error's message: what happened, and what to do about it. */
export function explain({ code, message }: { code: string; message: string }): { cause: string; remedy: string } {
  const remedy = Object.hasOwn(problems, code) ? problems[code as ProblemCode].message : ''
  return { cause: message.endsWith(remedy) ? message.slice(0, -remedy.length || undefined).trimEnd() : message, remedy }
}
