import { type FailureClass, failureClass, type NodeOutcomes } from '@damon/protocol/audio'

/** When outcomes are told. */
export const reporting = {
  everyMs: 30_000,
  /** Failures since the last report that are told at once: a node that fails everybody shall not do so for half a minute. */
  burst: 5,
  /** But not more often than this. */
  burstMs: 2_000,
} as const

/** What became of a track: it began, could not, or ended as tracks do. */
export interface Outcome {
  node: string
  what: 'start' | 'end' | FailureClass
}

interface Counts {
  starts: number
  failed: Partial<Record<FailureClass, number>>
  since: number
}

/** Reads the messages of Lavalink for what became of tracks: each start fails or ends at most once. */
export class OutcomeReader {
  /** Players, by node and guild, whose present track has begun and not failed. */
  readonly #begun = new Set<string>()

  /** The outcome that a message tells of, if any. */
  read(node: string, message: unknown): Outcome | undefined {
    const { op, type, guildId, exception, reason } = (message ?? {}) as Record<string, unknown>
    if (op !== 'event' || typeof guildId !== 'string') return undefined
    const player = `${node}/${guildId}`
    if (type === 'TrackStartEvent') {
      this.#begun.add(player)
      return { node, what: 'start' }
    }
    const what = type === 'TrackEndEvent' && reason !== 'loadFailed' ? 'end' : failureOf(type, exception)
    return what && this.#begun.delete(player) ? { node, what } : undefined
  }
}

function failureOf(type: unknown, exception: unknown): FailureClass | undefined {
  if (type === 'TrackExceptionEvent') {
    const { message, cause, causeStackTrace } = (exception ?? {}) as Record<string, unknown>
    return failureClass([message, cause, causeStackTrace].filter((text) => typeof text === 'string').join('\n'))
  }
  return type === 'TrackStuckEvent' || type === 'TrackEndEvent' ? 'other' : undefined
}

/** Counts outcomes by node until they are taken for a report. All times are monotonic ms. */
export class OutcomeLedger {
  readonly #counts = new Map<string, Counts>()
  readonly #told = new Map<string, number>()

  note({ node, what }: Outcome, now: number): void {
    if (what === 'end') return
    const counts = this.#of(node, now)
    if (what === 'start') counts.starts++
    else counts.failed[what] = (counts.failed[what] ?? 0) + 1
  }

  /** The reports that are due, each taken out. */
  take(now: number): NodeOutcomes[] {
    return [...this.#counts].flatMap(([node, counts]) => {
      if (!this.#isDue(node, counts, now)) return []
      this.#counts.delete(node)
      this.#told.set(node, now)
      const { starts, failed, since } = counts
      return [{ node, starts, failed, windowMs: Math.round(now - since) }]
    })
  }

  /** Puts a report back that could not be delivered, to be told with the next. */
  putBack({ node, starts, failed, windowMs }: NodeOutcomes, now: number): void {
    const counts = this.#of(node, now)
    counts.starts += starts
    for (const [name, count] of Object.entries(failed) as [FailureClass, number][])
      counts.failed[name] = (counts.failed[name] ?? 0) + count
    // What is older than an hour tells nothing about now.
    counts.since = Math.max(Math.min(counts.since, now - windowMs), now - 3_600_000)
  }

  #isDue(node: string, { failed, since }: Counts, now: number): boolean {
    if (now - Math.max(since, this.#told.get(node) ?? since) >= reporting.everyMs) return true
    const failures = Object.values(failed).reduce((sum, count) => sum + count, 0)
    const quiet = now - (this.#told.get(node) ?? Number.NEGATIVE_INFINITY) >= reporting.burstMs
    return failures >= reporting.burst && quiet
  }

  #of(node: string, now: number): Counts {
    const known = this.#counts.get(node)
    if (known) return known
    const counts: Counts = { starts: 0, failed: {}, since: now }
    this.#counts.set(node, counts)
    return counts
  }
}
