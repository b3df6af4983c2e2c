/** How often at least the log's growth is noted: so coarsely it is cut. */
const marks = { ms: 1_000, bytes: 1024 * 1024 }

/** Knows how far an origin's log must be cut, since only its origin appends to it. */
export class LogBounds {
  readonly #bounds: { ms: number; bytes: number }
  readonly #marks: { seq: number; at: number; total: number }[] = []
  #total = 0
  /** What of the total was cut. */
  #cut = 0

  constructor(bounds: { ms: number; bytes: number }) {
    this.#bounds = bounds
  }

  /** So many bytes are appended, up to this number. `now` is monotonic, ms. */
  add(seq: number, bytes: number, now: number): void {
    this.#total += bytes
    const last = this.#marks.at(-1)
    if (!last || now - last.at >= marks.ms || this.#total - last.total >= marks.bytes)
      this.#marks.push({ seq, at: now, total: this.#total })
  }

  /** The number up to which the log is to be cut; 0: nothing new is. */
  due(now: number): number {
    let seq = 0
    for (;;) {
      const [first] = this.#marks
      if (!first) return seq
      if (first.at > now - this.#bounds.ms && this.#total - this.#cut <= this.#bounds.bytes) return seq
      this.#marks.shift()
      this.#cut = first.total
      seq = first.seq
    }
  }
}
