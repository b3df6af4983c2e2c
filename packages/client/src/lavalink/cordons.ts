import { type KnownNodes, keepMs, treatments } from './known-nodes.ts'

/** Nodes that a sidecar asked to leave. Its record follows, or was there before; the wish holds in any case. All times are monotonic ms. */
export class Cordons {
  readonly #asked = new Map<string, { since: number | undefined; at: number }>()

  has(id: string): boolean {
    return this.#asked.has(id)
  }

  /** `since` is what the record of the node says of its state at this moment. */
  add(id: string, since: number | undefined, now: number): void {
    this.#asked.set(id, { since, at: now })
  }

  /** A node may be used again when its record says something new, or when nothing came of the wish for long. */
  settle(known: Pick<KnownNodes, 'get'>, now: number): void {
    for (const [id, { since, at }] of this.#asked) {
      const record = known.get(id)?.record
      const renewed = record && record.since !== since && !treatments[record.state].leave
      if (!record || renewed || now - at >= keepMs) this.#asked.delete(id)
    }
  }
}
