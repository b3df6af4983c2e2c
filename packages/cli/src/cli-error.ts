import { DamonError, type ErrorCode } from '@damon/protocol/errors'
import { ConfigError } from '@damon/runtime/config'

/** How `damon` ends, after `sysexits.h`; the README lists the same table. */
export const exits = {
  /** Done. */
  done: 0,
  /** It went wrong, or `ask` did not get an answer from each receiver. */
  failed: 1,
  /** The command line is wrong. */
  usage: 64,
  /** The hub or a receiver cannot be reached now; trying later may help. */
  unavailable: 69,
  /** Something is in the way: a file, a port, another `damon up`. */
  exists: 73,
  /** The hub refused the token, or the token has no capability for it. */
  refused: 77,
  /** A connection file, key or environment variable is missing or not valid. */
  config: 78,
} as const

/** The errors of the command line itself, beside those of the wire, and how each ends. */
export const cliErrors = {
  bad_argument: exits.usage,
  no_connection: exits.config,
  no_keys: exits.config,
  bad_keys: exits.config,
  unreadable: exits.config,
  too_open: exits.config,
  unknown_host: exits.unavailable,
  nobody_listens: exits.unavailable,
  untrusted_hub: exits.refused,
  not_a_hub: exits.unavailable,
  no_hub: exits.unavailable,
  exists: exits.exists,
  port_taken: exits.exists,
  already_running: exits.exists,
  service_failed: exits.failed,
  not_answered: exits.failed,
  interrupted: exits.failed,
} as const satisfies Record<string, number>
export type CliErrorCode = keyof typeof cliErrors

/** An error of the command line; its message says what to do next. */
export class CliError extends Error {
  override readonly name = 'CliError'
  readonly code: CliErrorCode

  constructor(code: CliErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

const wireExits: Partial<Record<ErrorCode, number>> = {
  bad_credential: exits.config,
  bad_trust_list: exits.refused,
  bad_token: exits.refused,
  token_expired: exits.refused,
  token_revoked: exits.refused,
  token_beyond_issuer: exits.refused,
  proof_required: exits.refused,
  bad_proof: exits.refused,
  denied: exits.refused,
  hello_timeout: exits.unavailable,
  unavailable: exits.unavailable,
  overloaded: exits.unavailable,
  rate_limited: exits.unavailable,
  no_receiver: exits.unavailable,
  disconnected: exits.unavailable,
  unknown_outcome: exits.unavailable,
  timed_out: exits.unavailable,
}

/** What is told of an error: its code, its text and how the process ends. */
export function describeFailure(error: unknown): { code: string; message: string; exit: number } {
  if (error instanceof CliError) return { code: error.code, message: error.message, exit: cliErrors[error.code] }
  if (error instanceof DamonError) {
    return { code: error.code, message: error.message, exit: wireExits[error.code] ?? exits.failed }
  }
  if (error instanceof ConfigError) return { code: error.code, message: error.message, exit: exits.config }
  const message = error instanceof Error ? error.message : String(error)
  return { code: (error as NodeJS.ErrnoException | undefined)?.code ?? 'failed', message, exit: exits.failed }
}
