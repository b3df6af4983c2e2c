/** One request in the books of those who asked and who answered. */
interface Asked {
  from: string
  at: number
  settled: boolean
  /** Who answered, as the requester was told. */
  answeredBy: string[]
  /** How often each receiver's handler ran. */
  runs: Map<string, number>
}

/** How long after its deadline a request may settle, ms: the hub's word, or the client's own. */
const settleMs = 12_000

/** The requests of a crew: each settles, no handler runs twice for one, and nobody answers who was not asked. */
export class Questions {
  readonly #asked = new Map<string, Asked>()
  #count = 0

  get size(): number {
    return this.#asked.size
  }

  /** How many are not settled. */
  get open(): number {
    return [...this.#asked.values()].filter(({ settled }) => !settled).length
  }

  ask(from: string, at: number): string {
    const id = `q${++this.#count}`
    this.#asked.set(id, { from, at, settled: false, answeredBy: [], runs: new Map() })
    return id
  }

  run(id: string, receiver: string): void {
    const asked = this.#asked.get(id)
    asked?.runs.set(receiver, (asked.runs.get(receiver) ?? 0) + 1)
  }

  settle(id: string, answeredBy: string[]): void {
    const asked = this.#asked.get(id)
    if (!asked) return
    asked.settled = true
    asked.answeredBy = answeredBy
  }

  /** What is wrong with them now. */
  wrongs(now: number, deadlineMs: number): string[] {
    const wrongs: string[] = []
    for (const [id, { from, at, settled, answeredBy, runs }] of this.#asked) {
      if (!settled && now - at > deadlineMs + settleMs) wrongs.push(`request ${id} of ${from} was never settled`)
      for (const [receiver, times] of runs)
        if (times > 1) wrongs.push(`request ${id} ran ${times} times at ${receiver}`)
      for (const receiver of answeredBy)
        if (!runs.has(receiver)) wrongs.push(`request ${id}: ${receiver} answered without being asked`)
      if (new Set(answeredBy).size < answeredBy.length) wrongs.push(`request ${id} was answered twice by one receiver`)
    }
    return wrongs
  }

  turn(): void {
    for (const [id, { settled }] of this.#asked) if (settled) this.#asked.delete(id)
  }
}
