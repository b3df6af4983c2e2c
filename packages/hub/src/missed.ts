import type { Range } from './bus.ts'

/** What a session did not take, as ranges per origin and destination, until it is told. */
export class Missed {
  #gaps: Map<string, Range> | undefined

  add({ origin, to, from, until }: Range): void {
    this.#gaps ??= new Map()
    const gap = this.#gaps.get(`${origin} ${to}`)
    if (gap) gap.until = until
    else this.#gaps.set(`${origin} ${to}`, { origin, to, from, until })
  }

  /** The gaps to tell, each of at most these frames; they count as told. */
  take(): Range[] {
    const gaps = [...(this.#gaps?.values() ?? [])]
    this.#gaps = undefined
    return gaps
  }
}
