/** The numbers of a session's own frames: which of them are settled, and up to where all of them are. */
export class SendNumbers {
  #last = 0
  #settled = 0
  /** Refused, while one before is still open. */
  #refused: Set<number> | undefined

  /** The latest number. */
  get last(): number {
    return this.#last
  }

  /** Up to which number all are settled. */
  get settled(): number {
    return this.#settled
  }

  /** Everything up to this number was settled elsewhere. */
  goOn(done: number): void {
    this.#last = done
    this.#settled = done
  }

  /** Takes the next number; false: it does not follow the one before. */
  begin(number: number): boolean {
    if (number !== this.#last + 1) return false
    this.#last = number
    return true
  }

  /** This number and what was sent before it is safe. Returns up to where all is settled now, if that is news. */
  confirm(number: number): number | undefined {
    if (number <= this.#settled) return undefined
    this.#settled = number
    for (const refused of this.#refused ?? []) if (refused <= number) this.#refused?.delete(refused)
    return this.#advance()
  }

  /** This number was refused. Returns as `confirm` does. */
  refuse(number: number): number | undefined {
    if (number <= this.#settled) return undefined
    if (number === this.#settled + 1) {
      this.#settled = number
      return this.#advance()
    }
    this.#refused ??= new Set()
    this.#refused.add(number)
    return undefined
  }

  #advance(): number {
    while (this.#refused?.delete(this.#settled + 1)) this.#settled++
    if (this.#refused?.size === 0) this.#refused = undefined
    return this.#settled
  }
}
