import { getDomain } from 'tldts'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

/** A bucket of tokens: `capacity` at once, one more each `refillMs`. */
export interface Limit {
  capacity: number
  refillMs: number
  /** What is limited, for people; goes between "N" and "per". */
  about: string
}

/** Let's Encrypt's limits as its site documents them; what an identifier's failures pause lasts until a success. */
export const letsEncryptLimits = {
  orders: { capacity: 300, refillMs: (3 * hour) / 300, about: 'orders of the account in 3 hours' },
  domain: { capacity: 50, refillMs: (7 * day) / 50, about: 'certificates for the registered domain in 7 days' },
  set: { capacity: 5, refillMs: (7 * day) / 5, about: 'certificates for exactly these names in 7 days' },
  failures: { capacity: 5, refillMs: hour / 5, about: 'failed validations of the name in an hour' },
  accounts: { capacity: 10, refillMs: (3 * hour) / 10, about: 'new accounts in 3 hours' },
} as const satisfies Record<string, Limit>
export type LimitName = keyof typeof letsEncryptLimits

/** A token of one bucket. */
export interface Token {
  limit: LimitName
  /** What the bucket is for: a domain, a set of names, a name. */
  of: string
}

/** What an order is, as the limits see it. */
export interface OrderKind {
  names: readonly string[]
  /** A certificate for exactly these names was issued before. */
  isRenewal: boolean
  /** It replaces a certificate within the window that the authority suggested: nothing limits it. */
  isExempt: boolean
}

/** The tokens that an order takes. Failures take theirs when they happen, so here they only have to be there. */
export function tokensOf({ names, isRenewal, isExempt }: OrderKind): { spent: Token[]; needed: Token[] } {
  if (isExempt) return { spent: [], needed: [] }
  const set: Token = { limit: 'set', of: [...names].sort().join(' ') }
  const domains = new Set(names.map(registeredDomain))
  const fresh: Token[] = isRenewal
    ? []
    : [{ limit: 'orders', of: 'account' }, ...[...domains].map((of): Token => ({ limit: 'domain', of }))]
  return { spent: [set, ...fresh], needed: names.map((name) => ({ limit: 'failures', of: withoutStar(name) })) }
}

/** Full at this time (Unix ms), each bucket; one that is not here is full. */
export type Buckets = Readonly<Record<string, number>>

/** When a bucket has a token (Unix ms); in the past when it has one now. */
export function availableAt(buckets: Buckets, { limit, of }: Token): number {
  const { capacity, refillMs } = letsEncryptLimits[limit]
  return (buckets[`${limit} ${of}`] ?? 0) - (capacity - 1) * refillMs
}

/** The buckets with tokens taken out, or, with `back`, put back in; full ones are left out. */
export function take(buckets: Buckets, tokens: readonly Token[], now: number, back = false): Buckets {
  const next: Record<string, number> = { ...buckets }
  for (const { limit, of } of tokens) {
    const key = `${limit} ${of}`
    const { refillMs } = letsEncryptLimits[limit]
    next[key] = back ? (next[key] ?? now) - refillMs : Math.max(next[key] ?? now, now) + refillMs
  }
  return Object.fromEntries(Object.entries(next).filter(([, fullAt]) => fullAt > now))
}

/**
 * The registered domain of a name by the public suffix list, also below the suffixes that companies have entered
 * (`you.github.io`), as Let's Encrypt counts; a name that is such a suffix itself stands for itself.
 */
export function registeredDomain(name: string): string {
  const host = withoutStar(name)
  return getDomain(host, { allowPrivateDomains: true, extractHostname: false, validateHostname: false }) ?? host
}

function withoutStar(name: string): string {
  return name.replace(/^\*\./, '')
}
