import type { Range } from './bus.ts'

/** Something that came for a session before it may be given to it. */
export interface Kept {
  range: Range
  /** What it takes, bytes. */
  bytes: number
  /** Gives it to the session; resolves when it was taken. */
  give(): Promise<void> | undefined
}

/** What came for a session that is not ready for it, in order. Where that is too much, the log has it. */
export class Aside {
  readonly #limit: number
  #kept: Kept[] = []
  #bytes = 0
  #dropped = new Map<string, Range>()

  /** Keeps at most so many bytes. */
  constructor(limit: number) {
    this.#limit = limit
  }

  keep(kept: Kept): void {
    this.#bytes += kept.bytes
    this.#kept.push(kept)
    if (this.#bytes <= this.#limit) return
    // All of it, so that what is kept from here on is later than anything that was dropped.
    for (const { range } of this.#kept) this.#drop(range)
    this.#kept = []
    this.#bytes = 0
  }

  /** The next one that is kept. */
  shift(): Kept | undefined {
    const kept = this.#kept.shift()
    if (kept) this.#bytes -= kept.bytes
    return kept
  }

  /** What was too much since this was asked last: all that came of these ranges, which end before what is kept. */
  takeDropped(): Range[] {
    const dropped = [...this.#dropped.values()]
    this.#dropped.clear()
    return dropped
  }

  #drop(range: Range): void {
    const lane = laneOf(range)
    const before = this.#dropped.get(lane)
    if (before) before.until = Math.max(before.until, range.until)
    else this.#dropped.set(lane, { ...range })
  }
}

/** What orders numbers: one origin's frames to one destination. */
export function laneOf({ origin, to }: { origin: number; to: string }): string {
  return `${origin} ${to}`
}
