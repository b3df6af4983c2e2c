import { createHash } from 'node:crypto'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

/** Waits after the first, second and third failure in a row, then always the last: Let's Encrypt's own advice. */
export const retryTable = [1 * minute, 10 * minute, 100 * minute, day] as const

/** In the emergency, the wait after a failure is at most this share of the life that is left. */
const emergencyShare = 1 / 10
const emergencyFloor = 15 * minute

/** When a certificate lives, Unix ms. */
export interface Life {
  notBefore: number
  notAfter: number
}

/** What the decision is made from. */
export interface Facts {
  /** The newest certificate that was issued for these names, if there is one. */
  current?: (Life & { fingerprint: string; namesMatch: boolean }) | undefined
  /** Failed attempts in a row since the last success. */
  failures?: { count: number; lastAt: number; terminal: boolean; retryAt?: number | undefined } | undefined
}

/** When the next attempt is due (Unix ms, in the past means now), and why. */
export interface Due {
  at: number
  why: 'missing' | 'names changed' | 'renewal' | 'retry' | 'emergency'
}

/**
 * When the certificate is to be ordered next. Renewal begins with 1/3 of the life left (1/2 when it lives under 10 days),
 * earlier by a jitter of up to 1/20 of the life that is fixed for each certificate; with less than 1/20 left, retries
 * come faster than the table says.
 */
export function nextAttempt({ current, failures }: Facts): Due {
  const first = firstAttempt(current)
  if (!failures) return first
  const steps = failures.terminal ? retryTable.length : failures.count
  const wait = retryTable[Math.min(steps, retryTable.length) - 1] ?? day
  const retry = Math.max(failures.lastAt + wait, failures.retryAt ?? 0, first.at)
  if (!current?.namesMatch || failures.terminal) return { at: retry, why: 'retry' }
  const left = Math.max(0, current.notAfter - failures.lastAt)
  const hurried = failures.lastAt + Math.max(emergencyFloor, left * emergencyShare)
  const urgent = Math.max(hurried, emergencyAt(current), failures.retryAt ?? 0)
  return urgent < retry ? { at: urgent, why: 'emergency' } : { at: retry, why: 'retry' }
}

/** From when on a certificate is so near its end that the retry table no longer counts: 1/20 of its life is left. */
export function emergencyAt({ notBefore, notAfter }: Life): number {
  return notAfter - (notAfter - notBefore) / 20
}

function firstAttempt(current: Facts['current']): Due {
  if (!current) return { at: 0, why: 'missing' }
  if (!current.namesMatch) return { at: 0, why: 'names changed' }
  const life = current.notAfter - current.notBefore
  const left = life < 10 * day ? life / 2 : life / 3
  return { at: Math.round(current.notAfter - left - jitter(current.fingerprint) * (life / 20)), why: 'renewal' }
}

/** 0 to 1, the same for one certificate after every restart. */
function jitter(fingerprint: string): number {
  return createHash('sha256').update(fingerprint).digest().readUInt32BE() / 2 ** 32
}
