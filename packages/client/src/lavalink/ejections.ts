/** When a node is set aside by what this bot alone saw of it, and for how long. */
export const ejection = {
  /** Failures in a row: one video that is gone is no fault of the node. */
  failures: 5,
  /** The first time; twice that the second, three times the third. */
  stepMs: 30_000,
  maxMs: 600_000,
  /** After so long without another, a node begins anew. */
  forgetMs: 1_800_000,
} as const

interface Standing {
  failures: number
  times: number
  until: number
}

/** Nodes that failed this bot, each set aside for longer each time. All times are monotonic ms. */
export class Ejections {
  readonly #standings = new Map<string, Standing>()

  /** Something failed that may be the node's fault. */
  failed(node: string, now: number): void {
    const standing = this.#of(node, now)
    standing.failures++
    if (standing.failures >= ejection.failures) this.eject(node, now)
  }

  succeeded(node: string): void {
    const standing = this.#standings.get(node)
    if (standing) standing.failures = 0
  }

  /** Sets it aside now: its connection broke, which no series is needed to believe. */
  eject(node: string, now: number): void {
    const standing = this.#of(node, now)
    standing.failures = 0
    if (standing.until > now) return
    standing.times++
    standing.until = now + Math.min(ejection.stepMs * standing.times, ejection.maxMs)
  }

  /** Until when; undefined for a node that is not set aside. */
  until(node: string, now: number): number | undefined {
    const until = this.#standings.get(node)?.until ?? 0
    return until > now ? until : undefined
  }

  #of(node: string, now: number): Standing {
    const known = this.#standings.get(node)
    if (known && now - known.until < ejection.forgetMs) return known
    const standing = { failures: 0, times: 0, until: now }
    this.#standings.set(node, standing)
    return standing
  }
}
