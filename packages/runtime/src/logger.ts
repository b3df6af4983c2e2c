import { type Logger, pino } from 'pino'
import { writeLine } from './log-output.ts'
import { concealer, type Secret } from './secret.ts'

export type { Logger } from 'pino'

/** Fields whose value is never written, in a logged object and two levels below. */
const secretFields = [
  'authorization',
  'Authorization',
  'cookie',
  'credential',
  'identity',
  'password',
  'privateKey',
  'proof',
  'secret',
  'token',
]

/** A pino logger that writes JSON lines to standard output; named fields and the exact values of `secrets` are replaced. */
export function createLogger(options: { service: string; level: string; secrets?: readonly Secret[] }): Logger {
  const conceal = concealer(options.secrets ?? [])
  return pino(
    {
      base: { service: options.service, pid: process.pid },
      level: options.level,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      redact: {
        paths: secretFields.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]),
        censor: '[secret]',
      },
      serializers: { err: describeError, error: describeError },
    },
    { write: (line: string) => writeLine(conceal(line)) },
  )
}

/**
 * What is logged of an error: name, code, message, stack and its causes. Nothing else: errors of HTTP libraries
 * carry the request with its credentials.
 */
export function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return typeof error === 'object' && error !== null ? String(error) : error
  return {
    type: error.name,
    code: 'code' in error ? error.code : undefined,
    message: error.message,
    stack: error.stack,
    cause: error.cause === undefined || depth === 5 ? undefined : describeError(error.cause, depth + 1),
    errors: depth === 5 ? undefined : partsOf(error)?.map((part) => describeError(part, depth + 1)),
  }
}

function partsOf(error: Error): unknown[] | undefined {
  if (error instanceof AggregateError) return error.errors
  if (error instanceof SuppressedError) return [error.error, error.suppressed]
  return undefined
}
