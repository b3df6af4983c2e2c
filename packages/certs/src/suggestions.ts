import { z } from 'zod'
import { choose, type RenewalWindow, type Suggestion } from './renewal-info.ts'
import type { Store } from './store.ts'

const schema = z.object({
  fingerprint: z.string(),
  start: z.number(),
  end: z.number(),
  at: z.number(),
  askAt: z.number(),
  explanation: z.string().optional(),
})

/** What the authorities suggested, kept over restarts: an instant once chosen is not thrown for again. */
export class Suggestions {
  readonly #store: Store
  readonly #random: () => number
  readonly #known = new Map<string, Suggestion>()

  /** `random` gives numbers from 0 to 1. */
  constructor(store: Store, random: () => number = Math.random) {
    this.#store = store
    this.#random = random
  }

  /** Reads what is stored of an id. */
  async load(id: string): Promise<void> {
    const content = await this.#store.read(`renewal-info/${id}`)
    const known = content && schema.safeParse(JSON.parse(Buffer.from(content).toString())).data
    if (known) this.#known.set(id, known)
    else this.#known.delete(id)
  }

  /** What is suggested for this certificate of an id. */
  of(id: string, fingerprint: string | undefined): Suggestion | undefined {
    const known = this.#known.get(id)
    return known?.fingerprint === fingerprint ? known : undefined
  }

  /** Keeps a window that the authority told, and the instant chosen in it. */
  async add(id: string, fingerprint: string, window: RenewalWindow): Promise<Suggestion> {
    const suggestion = choose(this.of(id, fingerprint), window, fingerprint, this.#random())
    this.#known.set(id, suggestion)
    await this.#store.write(`renewal-info/${id}`, JSON.stringify(suggestion))
    return suggestion
  }
}
