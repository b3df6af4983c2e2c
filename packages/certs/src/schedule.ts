import { createHash } from 'node:crypto'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

/**
 * Waits after the first, second and third failure in a row, then always the last: Let's Encrypt's own advice. Each is
 * lengthened by up to `retryJitter` of itself. A terminal failure (which trying again does not cure) waits the last one
 * from the first time on, unless another issuer can be tried instead.
 */
export const retryTable = [1 * minute, 10 * minute, 100 * minute, day] as const
export const retryJitter = 1 / 10

/** In the emergency, the wait after a failure is at most this share of the life that is left. */
const emergencyShare = 1 / 10
const emergencyFloor = 15 * minute

/**
 * A suggestion counts only from this share of the life on: an authority that wants each new certificate renewed at once
 * must not make us order for ever, least of all where its limits do not count.
 */
const suggestionFloor = 1 / 100

/** When a certificate lives, Unix ms. */
export interface Life {
  notBefore: number
  notAfter: number
}

/** Failed attempts in a row since the last success. */
export interface FailureFacts {
  count: number
  lastAt: number
  terminal: boolean
  /** Unix ms before which the other side wants no further attempt. */
  retryAt?: number | undefined
  /** There is another issuer that has not refused yet. */
  elsewhere?: boolean | undefined
}

/** What the decision is made from. */
export interface Facts {
  /** The newest certificate; `fits` says whether it is what is wanted now. */
  current?: (Life & { fingerprint: string; fits: boolean; revoked?: boolean }) | undefined
  /** The instant that was chosen in the window which the authority suggests for this certificate (RFC 9773). */
  suggestedAt?: number | undefined
  failures?: FailureFacts | undefined
}

/** When the next attempt is due (Unix ms, in the past means now), and why. */
export interface Due {
  at: number
  why: 'missing' | 'changed' | 'revoked' | 'suggested' | 'renewal' | 'retry' | 'emergency'
}

/**
 * When the certificate is to be ordered next. Renewal begins at the instant that the authority suggests, or else with 1/3
 * of the life left (1/2 when it lives under 10 days), earlier by a jitter of up to 1/20 of the life that is fixed for each
 * certificate; never later than with 1/20 left, from where on retries come faster than the table says.
 */
export function nextAttempt({ current, suggestedAt, failures }: Facts): Due {
  const first = firstAttempt(current, suggestedAt)
  if (!failures) return first
  const retry = Math.max(failures.lastAt + waitAfter(failures), failures.retryAt ?? 0, first.at)
  const isUsed = current?.fits && !current.revoked
  if (!isUsed || failures.terminal) return { at: retry, why: 'retry' }
  const left = Math.max(0, current.notAfter - failures.lastAt)
  const hurried = failures.lastAt + Math.max(emergencyFloor, left * emergencyShare)
  const urgent = Math.max(hurried, emergencyAt(current), failures.retryAt ?? 0)
  return urgent < retry ? { at: urgent, why: 'emergency' } : { at: retry, why: 'retry' }
}

/** From when on a certificate is so near its end that neither table nor authority count: 1/20 of its life is left. */
export function emergencyAt({ notBefore, notAfter }: Life): number {
  return notAfter - (notAfter - notBefore) / 20
}

/** Who tried last, and since when it fails. */
export interface IssuerTurn {
  issuer: string
  /** Unix ms of its first failure in a row. */
  since: number
  terminal: boolean
}

/**
 * Which of the issuers, listed in order of preference, is asked now: the first after a success; the next one (and in the
 * end the first again) once the last one has failed for `fallbackMs` or refuses for good.
 */
export function nextIssuer(
  issuers: readonly string[],
  fallbackMs: number,
  last: IssuerTurn | undefined,
  now: number,
): string {
  const position = last ? issuers.indexOf(last.issuer) : -1
  if (!last || position < 0) return issuers[0]!
  const gaveUp = last.terminal || now - last.since >= fallbackMs
  return issuers[(position + (gaveUp ? 1 : 0)) % issuers.length]!
}

function waitAfter({ count, lastAt, terminal, elsewhere }: FailureFacts): number {
  const steps = terminal ? (elsewhere ? 1 : retryTable.length) : count
  const wait = retryTable[Math.min(steps, retryTable.length) - 1] ?? day
  return Math.round(wait * (1 + fraction(`${lastAt} ${count}`) * retryJitter))
}

function firstAttempt(current: Facts['current'], suggestedAt: number | undefined): Due {
  if (!current) return { at: 0, why: 'missing' }
  if (current.revoked) return { at: 0, why: 'revoked' }
  if (!current.fits) return { at: 0, why: 'changed' }
  const latest = emergencyAt(current)
  const life = current.notAfter - current.notBefore
  if (suggestedAt !== undefined) {
    const at = Math.max(suggestedAt, current.notBefore + Math.round(life * suggestionFloor))
    return at < latest ? { at, why: 'suggested' } : { at: latest, why: 'emergency' }
  }
  const left = life < 10 * day ? life / 2 : life / 3
  return { at: Math.round(current.notAfter - left - fraction(current.fingerprint) * (life / 20)), why: 'renewal' }
}

/** 0 to 1, the same for the same text after every restart. */
function fraction(text: string): number {
  return createHash('sha256').update(text).digest().readUInt32BE() / 2 ** 32
}
