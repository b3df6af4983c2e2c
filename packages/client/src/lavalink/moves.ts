/** Brings players from node to node, a few at a time, each guild once at a time. */
export class Moves {
  readonly #concurrency: number
  readonly #move: (guild: string) => Promise<boolean>
  /** Guilds that wait for their turn or are on their way, with what comes of it. */
  readonly #under = new Map<string, Promise<boolean>>()
  readonly #waiting: (() => void)[] = []
  #running = 0

  /** `move` MUST NOT reject; it says whether the player is well now. */
  constructor(concurrency: number, move: (guild: string) => Promise<boolean>) {
    this.#concurrency = concurrency
    this.#move = move
  }

  /** Whether a guild waits or moves. */
  has(guild: string): boolean {
    return this.#under.has(guild)
  }

  /** Moves the player of a guild as soon as it is its turn; asked again meanwhile it is the same move. */
  bring(guild: string): Promise<boolean> {
    const known = this.#under.get(guild)
    if (known) return known
    const moving = this.#inTurn(guild).finally(() => this.#under.delete(guild))
    this.#under.set(guild, moving)
    return moving
  }

  async #inTurn(guild: string): Promise<boolean> {
    if (this.#running >= this.#concurrency) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#running++
    try {
      return await this.#move(guild)
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#running--
    }
  }
}
