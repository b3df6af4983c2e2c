/** The end of this turn of the event loop: what the sockets brought is in, nothing was written yet. */
export class Tick {
  readonly #phases: (() => void)[] = []
  #wanted = false

  /** Adds something to do at the end of a turn in which anybody wanted it; phases run in the order they were added. */
  phase(run: () => void): void {
    this.#phases.push(run)
  }

  /** Something waits for the end of this turn. */
  want(): void {
    if (this.#wanted) return
    this.#wanted = true
    setImmediate(() => {
      for (const run of this.#phases) run()
      this.#wanted = false
    })
  }
}
