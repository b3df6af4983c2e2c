import type { Line } from './line.ts'

/** The lines of one process: they stand still and end together. */
export class Lines {
  readonly #open = new Set<Line>()
  #hang = false
  #ended = false

  get all(): readonly Line[] {
    return [...this.#open]
  }

  /** Whether the process still takes and lays lines. */
  get live(): boolean {
    return !this.#ended
  }

  add(line: Line): void {
    this.#open.add(line)
    line.far.on('close', () => this.#open.delete(line))
    line.near.on('close', () => this.#open.delete(line))
    if (this.#hang) line.hang()
  }

  /** Nothing moves any more, and nobody is told. */
  hang(): void {
    this.#hang = true
    for (const line of this.#open) line.hang()
  }

  move(): void {
    this.#hang = false
    for (const line of this.#open) line.move()
  }

  /** All that are open break. */
  cut(): void {
    for (const line of this.#open) line.cut()
  }

  /** As by SIGKILL: what is not written is gone, and there will be no others. */
  end(): void {
    this.#ended = true
    this.cut()
  }
}
