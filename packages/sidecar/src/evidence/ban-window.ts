/** Addresses that failed, each with when it last did, Unix ms: kept longer than Lavalink's own list, which a restart clears. */
export class BanWindow {
  readonly #bans: Map<string, number>
  readonly #most: number

  /** Knows at most `most` addresses, the newest. */
  constructor(bans: Iterable<readonly [string, number]> = [], most = 4_096) {
    this.#bans = new Map(bans)
    this.#most = most
  }

  /** Takes in what Lavalink tells and forgets what failed more than `banMs` ago. */
  merge(failing: ReadonlyMap<string, number>, now: number, banMs: number): void {
    for (const [address, at] of failing) {
      // A clock that is wrong must not make a ban that never ends.
      const failed = Math.min(at, now)
      if (failed >= (this.#bans.get(address) ?? 0)) this.#bans.set(address, failed)
    }
    for (const [address, at] of this.#bans) if (now - at > banMs) this.#bans.delete(address)
    if (this.#bans.size <= this.#most) return
    const oldest = [...this.#bans].sort((a, b) => a[1] - b[1]).slice(0, this.#bans.size - this.#most)
    for (const [address] of oldest) this.#bans.delete(address)
  }

  get size(): number {
    return this.#bans.size
  }

  entries(): [string, number][] {
    return [...this.#bans]
  }
}
