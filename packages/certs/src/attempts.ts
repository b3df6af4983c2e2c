import { z } from 'zod'
import type { CertsError } from './errors.ts'
import type { FailureFacts, IssuerTurn } from './schedule.ts'
import type { Store } from './store.ts'

/** So many failures are remembered in words. */
const told = 20

const schema = z.object({
  count: z.int(),
  lastAt: z.number(),
  terminal: z.boolean(),
  retryAt: z.number().optional(),
  code: z.string(),
  message: z.string(),
  issuer: z.string(),
  since: z.number(),
  /** Issuers that have refused for good in this row of failures. */
  refusedBy: z.array(z.string()),
  history: z.array(z.object({ at: z.number(), issuer: z.string(), code: z.string(), message: z.string() })),
})

/** The failed attempts in a row for one certificate, and what each of the last ones failed of. */
export type Failures = z.output<typeof schema> & FailureFacts & IssuerTurn

/** Adds a failure at `now` (Unix ms) with an issuer to what was known. */
export function addFailure(before: Failures | undefined, issuer: string, error: CertsError, now: number): Failures {
  const { code, message, retryAt, retry } = error
  return {
    count: (before?.count ?? 0) + 1,
    lastAt: now,
    terminal: !retry,
    retryAt,
    code,
    message,
    issuer,
    since: before?.issuer === issuer ? before.since : now,
    refusedBy: retry ? (before?.refusedBy ?? []) : [...new Set([...(before?.refusedBy ?? []), issuer])],
    history: [...(before?.history ?? []), { at: now, issuer, code, message }].slice(-told),
  }
}

/** Remembers failed attempts over restarts, so that a restart loop does not spend the authority's patience. */
export class Attempts {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  /** What is known of an id. */
  async load(id: string): Promise<Failures | undefined> {
    const content = await this.#store.read(`failures/${id}`)
    return content && schema.safeParse(JSON.parse(Buffer.from(content).toString())).data
  }

  /** Keeps what is known now. */
  async save(id: string, failures: Failures): Promise<void> {
    await this.#store.write(`failures/${id}`, JSON.stringify(failures))
  }

  /** Forgets everything: it worked. */
  async succeeded(id: string): Promise<void> {
    await this.#store.remove(`failures/${id}`)
  }
}

/** After a restart a terminal failure is tried once more soon: a person may have cured it. */
export function afterRestart(failures: Failures | undefined): Failures | undefined {
  return failures?.terminal ? { ...failures, count: 1, terminal: false, refusedBy: [] } : failures
}
