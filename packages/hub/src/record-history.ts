/** What became of a key: with a reason it ended, else it was set. */
export interface Fate {
  revision: number
  reason?: string | undefined
}

interface Step extends Fate {
  key: string
}

/** The latest changes of the records, without their values: what a watcher that was away for a moment has to be told. */
export class RecordHistory {
  readonly #most: number
  #steps: Step[] = []
  /** All changes after this revision are here. */
  #floor = Number.POSITIVE_INFINITY

  /** Remembers so many changes. */
  constructor(most: number) {
    this.#most = most
  }

  /** What was before this revision is not known. */
  begin(revision: number): void {
    this.#steps = []
    this.#floor = revision
  }

  /** Revisions MUST NOT fall. */
  add(step: Step): void {
    this.#steps.push(step)
    // Cut in halves, so that a change costs the same however much is remembered.
    if (this.#steps.length < 2 * this.#most) return
    this.#floor = this.#steps[this.#most - 1]?.revision ?? this.#floor
    this.#steps = this.#steps.slice(this.#most)
  }

  /** Per key the latest change after a revision, in their order; undefined when that is not known any more. */
  since(revision: number): Map<string, Fate> | undefined {
    if (revision < this.#floor) return undefined
    let from = this.#steps.length
    while (from > 0 && (this.#steps[from - 1]?.revision ?? 0) > revision) from--
    const fates = new Map<string, Fate>()
    for (const { key, ...fate } of this.#steps.slice(from)) {
      fates.delete(key)
      fates.set(key, fate)
    }
    return fates
  }
}
