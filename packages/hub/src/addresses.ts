/** Addresses that are remembered; of the longest unused one more is forgiven than should be. */
const remembered = 65_536

/** An address as people write it: IPv4 that came over an IPv6 socket in its own form. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

/** Who counts as one: an IPv4 address, or of IPv6 the /64, which one customer has for himself. */
export function household(address: string): string {
  const plain = plainAddress(address)
  if (!plain.includes(':')) return plain
  const [before = '', after] = (plain.split('%')[0] ?? '').split('::')
  const groups = before.split(':').filter(Boolean)
  const missing = after === undefined ? 0 : 8 - groups.length - after.split(':').filter(Boolean).length
  const all = [...groups, ...Array.from({ length: missing }, () => '0'), ...(after ?? '').split(':')]
  return `${all
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, '').toLowerCase())
    .join(':')}::/64`
}

/** Whether an address is one of this machine for itself. */
export function isLoopback(address: string): boolean {
  const plain = plainAddress(address)
  return plain === '::1' || plain.startsWith('127.')
}

/** How many connections each address may still make on this worker. */
export class Addresses {
  readonly #perSecond: number
  readonly #burst: number
  /** When each would have made all of its connections good, monotonic ms; the longest unused first. */
  readonly #goodAt = new Map<string, number>()

  constructor({ perSecond, burst }: { perSecond: number; burst: number }) {
    this.#perSecond = perSecond
    this.#burst = burst
  }

  /** A connection of this address: false when it has had too many. */
  take(address: string, now: number): boolean {
    const who = household(address)
    const each = 1_000 / this.#perSecond
    const goodAt = Math.max(this.#goodAt.get(who) ?? 0, now)
    if (goodAt + each > now + this.#burst * each) return false
    this.#goodAt.delete(who)
    this.#goodAt.set(who, goodAt + each)
    this.#forget(now)
    return true
  }

  /** In how many ms an address that was refused may come again. */
  waitMs(address: string, now: number): number {
    const each = 1_000 / this.#perSecond
    return Math.max(0, Math.ceil((this.#goodAt.get(household(address)) ?? now) + each - this.#burst * each - now))
  }

  get size(): number {
    return this.#goodAt.size
  }

  /** Those at the front that are good again, and who is too many. */
  #forget(now: number): void {
    for (const [who, goodAt] of this.#goodAt) {
      if (goodAt > now && this.#goodAt.size <= remembered) break
      this.#goodAt.delete(who)
    }
  }
}
