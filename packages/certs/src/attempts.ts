import { z } from 'zod'
import type { CertsError } from './errors.ts'
import type { Facts } from './schedule.ts'
import type { Store } from './store.ts'

const schema = z.object({
  count: z.int(),
  lastAt: z.number(),
  terminal: z.boolean(),
  retryAt: z.number().optional(),
  code: z.string(),
  message: z.string(),
})

/** The failed attempts in a row for one certificate, and what the last one failed of. */
export type Failures = z.output<typeof schema> & NonNullable<Facts['failures']>

/** Remembers failed attempts over restarts, so that a restart loop does not spend the authority's patience. */
export class Attempts {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  /** What is known of an id. After a restart a terminal failure is tried once more soon: a person may have cured it. */
  async load(id: string): Promise<Failures | undefined> {
    const content = await this.#store.read(`failures/${id}`)
    const known = content && schema.safeParse(JSON.parse(Buffer.from(content).toString())).data
    return known && { ...known, count: known.terminal ? 1 : known.count, terminal: false }
  }

  /** Adds a failure at `now` (Unix ms) to what was known. */
  async failed(id: string, before: Failures | undefined, error: CertsError, now: number): Promise<Failures> {
    const { code, message, retryAt, retry } = error
    const failures = { count: (before?.count ?? 0) + 1, lastAt: now, terminal: !retry, retryAt, code, message }
    await this.#store.write(`failures/${id}`, JSON.stringify(failures))
    return failures
  }

  /** Forgets everything: it worked. */
  async succeeded(id: string): Promise<void> {
    await this.#store.remove(`failures/${id}`)
  }
}
