/** The numbers of a session's own frames: which of them are settled, and up to where all of them are. */
export class SendNumbers {
  #open: Set<number> | undefined
  #last = 0
  #told = 0

  /** The latest number. */
  get last(): number {
    return this.#last
  }

  /** Takes the next number; false: it does not follow the one before. */
  begin(number: number): boolean {
    if (number !== this.#last + 1) return false
    this.#last = number
    this.#open ??= new Set()
    this.#open.add(number)
    return true
  }

  /** This number and what was sent before it is safe. Returns up to where all is settled now, if that is news. */
  confirm(number: number): number | undefined {
    for (const open of this.#open ?? []) {
      if (open > number) break
      this.#open?.delete(open)
    }
    return this.#news()
  }

  /** This number was refused. Returns as `confirm` does. */
  refuse(number: number): number | undefined {
    this.#open?.delete(number)
    return this.#news()
  }

  #news(): number | undefined {
    const [first] = this.#open ?? []
    const settled = first === undefined ? this.#last : first - 1
    if (settled <= this.#told) return undefined
    this.#told = settled
    return settled
  }
}
