import type { Logger } from '@damon/runtime/logger'
import { z } from 'zod'
import { nextStep, type RolloutStep, type TrialReader } from './canary.ts'
import type { Clock } from './clock.ts'
import type { DeliveryRules } from './delivery-rules.ts'
import type { Metrics } from './metrics.ts'
import type { StoredCertificate } from './shelf.ts'
import type { Store } from './store.ts'
import { keyTypes } from './wanted.ts'

const certificateSchema = z.object({
  id: z.string(),
  key: z.string(),
  chain: z.string(),
  issuer: z.string(),
  names: z.array(z.string()),
  keyType: z.enum(keyTypes).default(keyTypes[0]),
  profile: z.string().optional(),
  fingerprint: z.string(),
  notBefore: z.number(),
  notAfter: z.number(),
})

const memorySchema = z.object({
  /** What all readers have, or had before the trial. */
  proven: certificateSchema.optional(),
  /** The certificate that trial and failures are of. */
  fingerprint: z.string().optional(),
  trial: z.string().optional(),
  /** A certificate whose key is not secret any more: what comes after it goes to everyone. */
  compromised: z.string().optional(),
  failed: z.object({ count: z.int(), at: z.number(), readers: z.array(z.string()) }).optional(),
})
type Memory = z.output<typeof memorySchema>

/** Canaries that failed, as far as they are remembered: the next trial takes another one. */
const triedLength = 16

/** What goes on with a new certificate that has not come to everyone. */
export interface RolloutState {
  /** SERVICE/READER that tries it now; nothing between two trials. */
  canary?: string
  /** Failed trials so far. */
  failures: number
  /** When the trial ends or the next one begins, Unix ms, where that is known. */
  until?: number
}

/** What a rollout works with. */
export interface RolloutOptions {
  rules: (id: string) => DeliveryRules
  store: Store
  clock: Clock
  metrics: Pick<Metrics, 'trialFailed'>
  log: Logger
}

/**
 * Lets one reader try each new certificate of an id before the others get it. The pair that was proven before lies with what
 * is known of the trial in the store: a restart goes on where it was, and a canary that fails can have it back.
 */
export class Rollout {
  readonly #id: string
  readonly #options: RolloutOptions
  #memory: Memory
  #state: RolloutState | undefined

  private constructor(id: string, options: RolloutOptions, memory: Memory) {
    this.#id = id
    this.#options = options
    this.#memory = memory
  }

  /** Throws `store_damaged`. */
  static async load(id: string, options: RolloutOptions): Promise<Rollout> {
    const content = await options.store.read(`rollout/${id}`)
    const memory = content && memorySchema.safeParse(JSON.parse(Buffer.from(content).toString())).data
    return new Rollout(id, options, memory ?? {})
  }

  /** What goes on; nothing while everyone has, or may have, the current certificate. */
  get state(): RolloutState | undefined {
    return this.#state
  }

  /**
   * Which certificate each reader shall have now. Throws `store_failed`: what is not written down is not tried, else a
   * restart would not know what to go back to.
   */
  async assign(
    current: StoredCertificate,
    readers: readonly TrialReader[],
  ): Promise<(reader: string) => StoredCertificate> {
    const { proven, compromised } = this.#memory
    if (!proven || proven.fingerprint === current.fingerprint || compromised !== undefined) {
      this.#state = undefined
      const isSettled = proven?.fingerprint === current.fingerprint || compromised === current.fingerprint
      if (!isSettled) await this.#remember({ proven: copy(current) })
      return () => current
    }
    if (this.#memory.fingerprint !== current.fingerprint) {
      await this.#remember({ proven, fingerprint: current.fingerprint })
    }
    const step = await this.#step(current, proven, readers)
    if (step.who === 'everyone') {
      this.#options.log.info({ certificate: this.#id, fingerprint: current.fingerprint, why: step.why }, 'for everyone')
      await this.#remember({ proven: copy(current) })
      this.#state = undefined
      return () => current
    }
    const { until } = step
    const failures = this.#memory.failed?.count ?? 0
    const canary = step.who === 'canary' ? step.reader : undefined
    this.#state = { ...(canary !== undefined && { canary }), failures, ...(until !== undefined && { until }) }
    return (reader) => (reader === canary ? current : proven)
  }

  /** The key of this certificate is not secret any more: no trial, what comes next goes to everyone at once. */
  async compromised(certificate: StoredCertificate): Promise<void> {
    await this.#remember({ compromised: certificate.fingerprint })
    this.#state = undefined
  }

  async #step(
    { fingerprint }: StoredCertificate,
    proven: NonNullable<Memory['proven']>,
    readers: readonly TrialReader[],
  ): Promise<Exclude<RolloutStep, { failed: string }>> {
    const { rules, clock, metrics, log } = this.#options
    for (;;) {
      const { trial, failed } = this.#memory
      const now = clock.now()
      const step = nextStep({
        now,
        fingerprint,
        before: proven,
        rules: rules(this.#id),
        readers,
        history: { trial, failed },
      })
      if ('failed' in step) {
        const { failed: reader, why } = step
        const count = (failed?.count ?? 0) + 1
        const tried = [...(failed?.readers ?? []), reader].slice(-triedLength)
        const { trial: _, ...rest } = this.#memory
        await this.#remember({ ...rest, failed: { count, at: now, readers: tried } })
        metrics.trialFailed(this.#id)
        log.error({ certificate: this.#id, reader, fingerprint, why, failures: count }, 'the canary failed')
        continue
      }
      if (step.who === 'canary' && trial === undefined) {
        await this.#remember({ ...this.#memory, trial: step.reader })
        log.info({ certificate: this.#id, reader: step.reader, fingerprint }, 'tried on one reader first')
      }
      return step
    }
  }

  async #remember(memory: Memory): Promise<void> {
    await this.#options.store.write(`rollout/${this.#id}`, JSON.stringify(memory))
    this.#memory = memory
  }
}

/** The rollouts of all certificates that have a canary by the rules of the moment. */
export class Rollouts {
  readonly #options: RolloutOptions
  readonly #known = new Map<string, Rollout>()

  constructor(options: RolloutOptions) {
    this.#options = options
  }

  /** Nothing for a certificate without a canary. Throws `store_damaged`. */
  async of(id: string): Promise<Rollout | undefined> {
    if (!this.#options.rules(id).canary) {
      this.#known.delete(id)
      return undefined
    }
    const rollout = this.#known.get(id) ?? (await Rollout.load(id, this.#options))
    this.#known.set(id, rollout)
    return rollout
  }

  /** What goes on, by id. */
  state(id: string): RolloutState | undefined {
    return this.#known.get(id)?.state
  }

  /** When a trial ends or the next one begins, Unix ms, where that is known. */
  get times(): number[] {
    return [...this.#known.values()].flatMap(({ state }) => state?.until ?? [])
  }

  /** The key of a certificate is not secret any more: what replaces it is not tried first. */
  async compromised(certificate: StoredCertificate): Promise<void> {
    await (await this.of(certificate.id))?.compromised(certificate)
  }
}

function copy(certificate: StoredCertificate): NonNullable<Memory['proven']> {
  return certificateSchema.parse(certificate)
}
