import { explain } from './errors.ts'
import type { Issuer } from './issuer.ts'
import type { Renewal } from './renewal.ts'
import type { Revocations } from './revocations.ts'
import type { Due } from './schedule.ts'
import type { Suggestions } from './suggestions.ts'

/** What would happen to a certificate, and when. Times are Unix ms. Holds no key. */
export interface Plan {
  id: string
  names: readonly string[]
  keyType: string
  profile?: string
  /** When it is ordered next, and why. */
  at: number
  why: Due['why']
  /** Who is asked. */
  issuer: string
  /** Who else may be asked when that one fails. */
  others: readonly string[]
  notAfter?: number
  /** What the authority suggests. */
  window?: { start: number; end: number; explanation?: string | undefined }
  /** The order says what it replaces and falls into the window: no limit of the authority counts it. */
  exempt: boolean
  /** Why it cannot be ordered then, and when it can. */
  limited?: { at: number; message: string }
}

/** What the plan is made from. */
export interface PlanParts {
  suggestions: Suggestions
  revocations: Revocations
  issuer: (name: string) => Issuer
  now: number
}

/** What would happen to one certificate. */
export async function planOf(renewal: Renewal, { suggestions, issuer, now }: PlanParts): Promise<Plan> {
  const { wanted, due, current } = renewal
  const window = suggestions.of(wanted.id, current?.fingerprint)
  const order = renewal.order()
  const at = Math.max(due.at, now)
  const exempt = order.current?.chain !== undefined && window !== undefined && window.start <= at && at <= window.end
  const wish = order.current ? { ...order, current: { ...order.current, isInWindow: exempt } } : order
  const limited = await issuer(renewal.issuer).refusal?.(wish)
  return {
    id: wanted.id,
    names: wanted.names,
    keyType: wanted.keyType,
    ...(wanted.profile !== undefined && { profile: wanted.profile }),
    at,
    why: due.why,
    issuer: renewal.issuer,
    others: wanted.issuers.filter((name) => name !== renewal.issuer),
    ...(current && { notAfter: current.notAfter }),
    ...(window && { window: { start: window.start, end: window.end, explanation: window.explanation } }),
    exempt,
    ...(limited && limited.at > at && { limited }),
  }
}

/** Why a certificate is as it is: each failure with its cause and its remedy in words. */
export interface Reasons {
  id: string
  /** It exists and is what is wanted. */
  good: boolean
  at: number
  why: Due['why']
  issuer: string
  notAfter?: number
  /** The newest last; empty when the last attempt succeeded. */
  failures: { at: number; issuer: string; code: string; cause: string; remedy: string }[]
  revoked?: { reason: string; fingerprint: string; doneAt?: number | undefined }
}

/** Explains one certificate. */
export function reasonsOf(renewal: Renewal, { revocations, now }: Pick<PlanParts, 'revocations' | 'now'>): Reasons {
  const { wanted, due, current, failures } = renewal
  const revocation = revocations.of(current?.fingerprint)
  const isUsable = current !== undefined && now < current.notAfter && !revocation
  return {
    id: wanted.id,
    good: isUsable && due.why !== 'changed',
    at: Math.max(due.at, now),
    why: due.why,
    issuer: renewal.issuer,
    ...(current && { notAfter: current.notAfter }),
    failures: (failures?.history ?? []).map(({ at, issuer, code, message }) => ({
      at,
      issuer,
      code,
      ...explain({ code, message }),
    })),
    ...(revocation && {
      revoked: { reason: revocation.reason, fingerprint: revocation.fingerprint, doneAt: revocation.doneAt },
    }),
  }
}
