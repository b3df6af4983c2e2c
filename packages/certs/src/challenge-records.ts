import type { Logger } from '@damon/runtime/logger'
import { z } from 'zod'
import type { Clock } from './clock.ts'
import type { Dns } from './dns.ts'
import { asCertsError } from './errors.ts'
import type { TxtValue } from './propagation.ts'
import type { Store } from './store.ts'

const journal = z.array(z.object({ name: z.string(), value: z.string() }))
const journalName = 'challenge-records'
const cleanupMs = 180_000
/** While something is left behind it is swept so often, also when nothing is ordered. */
const sweepMs = 3_600_000
const isAway = new Set(['dns_unavailable', 'dns_rate_limited', 'dns_unauthorized'])

/**
 * The TXT values that orders have published. Each is written into a journal before it is published and struck out after
 * it was taken back, so that what a crash or a failed clean-up left behind is known and can be swept.
 */
export class ChallengeRecords {
  readonly #store: Store
  readonly #dns: Dns
  readonly #log: Logger
  readonly #inUse = new Set<string>()
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: { store: Store; dns: Dns; log: Logger }) {
    this.#store = options.store
    this.#dns = options.dns
    this.#log = options.log
  }

  /** Publishes all values of an order. When it throws, some may be published: `retract` them too. */
  async publish(values: readonly TxtValue[], signal: AbortSignal): Promise<void> {
    for (const one of values) this.#inUse.add(keyOf(one))
    await this.#edit((known) => [...known, ...values])
    for (const { name, value } of values) await this.#dns.addTxt(name, value, signal)
  }

  /** Takes values back, within a time of its own; never throws: what remains is in the journal for the next sweep. */
  async retract(values: readonly TxtValue[]): Promise<void> {
    const signal = AbortSignal.timeout(cleanupMs)
    const done = new Set<string>()
    for (const one of values) {
      try {
        await this.#dns.removeTxt(one.name, one.value, signal)
        done.add(keyOf(one))
      } catch (error) {
        const problem = asCertsError(error)
        this.#log.warn(
          { name: one.name, err: problem },
          'a TXT record could not be removed, the next sweep tries again',
        )
        // It will not take back the others either.
        if (isAway.has(problem.code)) break
      }
    }
    try {
      await this.#edit((known) => known.filter((one) => !done.has(keyOf(one))))
    } catch (error) {
      this.#log.warn({ err: error }, 'the journal of TXT records could not be written')
    }
    for (const one of values) this.#inUse.delete(keyOf(one))
  }

  /** Removes what earlier orders left behind; values of running orders stay. */
  async sweep(): Promise<void> {
    const left = (await this.#read()).filter((one) => !this.#inUse.has(keyOf(one)))
    if (left.length === 0) return
    this.#log.info({ records: left.length }, 'removing TXT records that were left behind')
    await this.retract(left)
  }

  /** Sweeps each hour until the signal is aborted. */
  async run(clock: Clock, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // What a crash left behind does not wait for the next order.
      await this.sweep().catch((error) => this.#log.warn({ err: asCertsError(error) }, 'the sweep failed'))
      await clock.until(clock.now() + sweepMs, signal).catch(() => {})
    }
  }

  async #read(): Promise<TxtValue[]> {
    const content = await this.#store.read(journalName)
    return content ? journal.parse(JSON.parse(Buffer.from(content).toString())) : []
  }

  #edit(change: (known: TxtValue[]) => TxtValue[]): Promise<void> {
    const done = this.#turn.then(async () => {
      await this.#store.write(journalName, JSON.stringify(change(await this.#read())))
    })
    this.#turn = done.catch(() => {})
    return done
  }
}

function keyOf({ name, value }: TxtValue): string {
  return `${name} ${value}`
}
