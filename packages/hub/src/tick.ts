/** What is done at the end of a turn, in this order: nobody who gets something waits for those who only keep it. */
const stages = ['deliver', 'write', 'append', 'read'] as const

/** The end of this turn of the event loop: what the sockets brought is in, nothing was written yet. */
export class Tick {
  readonly #stages = stages.map((): (() => void)[] => [])
  #wanted = false

  /** Adds something to do at the end of a turn in which anybody wanted it. */
  at(stage: (typeof stages)[number], run: () => void): void {
    this.#stages[stages.indexOf(stage)]?.push(run)
  }

  /** Something waits for the end of this turn. */
  want(): void {
    if (this.#wanted) return
    this.#wanted = true
    setImmediate(() => {
      // What is wanted meanwhile may be for a stage that is over.
      this.#wanted = false
      for (const stage of this.#stages) for (const run of stage) run()
    })
  }
}
