import type { NodeRecord, NodeSecret } from '@damon/protocol/records'
import { tellsMore } from './load.ts'

/** The part of the hub that keeps leased records. */
export interface Announcer {
  /** MUST keep the record over reconnects until it is dropped; MUST take it while there is no connection yet. */
  announce(key: string, value: unknown): LeasedRecord
}

/** One leased record of ours. */
export interface LeasedRecord {
  /** Resolves once the hub has it; rejects with what the hub refused it for. */
  ready(): Promise<unknown>
  /** Rejects with what the hub refused the new value for. */
  update(value: unknown): Promise<unknown>
  drop(reason: string): Promise<unknown>
}

/** How often a record is written at least, so that its load figures are never older, ms. */
export const refreshMs = 60_000

/** Keeps `node/<id>` and `node-secret/<id>` equal to what the sidecar knows, with no more writes than that takes. */
export class NodeAnnouncement {
  /** Why the hub does not have the newest record, in words; undefined while all is well. */
  problem: string | undefined
  readonly #announcer: Announcer
  readonly #id: string
  readonly #password: string
  readonly #onProblem: (error: unknown) => void
  #records: { node: LeasedRecord; secret: LeasedRecord } | undefined
  #shown: NodeRecord | undefined
  #shownAt = 0
  #writes = 0

  constructor(options: { announcer: Announcer; id: string; password: string; onProblem?: (error: unknown) => void }) {
    this.#announcer = options.announcer
    this.#id = options.id
    this.#password = options.password
    this.#onProblem = options.onProblem ?? (() => {})
  }

  /** What was announced last; undefined before the first time and after the drop. */
  get shown(): NodeRecord | undefined {
    return this.#shown
  }

  /** Announces the node, or updates it if that tells the bots anything; `now` in monotonic ms. */
  show(record: NodeRecord, now: number): void {
    const { problem } = this
    if (this.#shown && problem === undefined && now - this.#shownAt < refreshMs && !differs(this.#shown, record)) return
    this.#shown = record
    this.#shownAt = now
    if (this.#records) {
      this.#watch(this.#records.node.update(record))
      return
    }
    // The password goes first: a bot that sees the node shall be able to use it.
    const password: NodeSecret = { password: this.#password }
    const secret = this.#announcer.announce(`node-secret/${this.#id}`, password)
    const node = this.#announcer.announce(`node/${this.#id}`, record)
    this.#records = { node, secret }
    this.#watch(Promise.all([secret.ready(), node.ready()]))
  }

  /** Takes both records away, the node first; does nothing if it was never announced. Rejects if the hub did not confirm. */
  async drop(reason: string): Promise<void> {
    const records = this.#records
    this.#records = undefined
    this.#shown = undefined
    this.#writes++
    if (records) await Promise.all([records.node.drop(reason), records.secret.drop(reason)])
  }

  /** Only the newest write tells whether there is a problem. */
  async #watch(writing: Promise<unknown>): Promise<void> {
    const write = ++this.#writes
    try {
      await writing
      if (write === this.#writes) this.problem = undefined
    } catch (error) {
      if (write !== this.#writes) return
      this.problem = error instanceof Error ? error.message : 'the hub refused it'
      this.#onProblem(error)
    }
  }
}

function differs(known: NodeRecord, next: NodeRecord): boolean {
  const { load: knownLoad, ...knownRest } = known
  const { load: nextLoad, ...nextRest } = next
  if (JSON.stringify(knownRest) !== JSON.stringify(nextRest)) return true
  if (!knownLoad || !nextLoad) return knownLoad !== nextLoad
  return tellsMore(knownLoad, nextLoad)
}
