import { DamonError } from '@damon/protocol/errors'
import { certRecord } from '@damon/protocol/records'
import type { Logger } from '@damon/runtime/logger'
import { backoff } from '@damon/runtime/retry'
import { envelopeKey, nextVersion, sealCertificate } from '@damon/trust/envelope'
import type { PrivateJwk } from '@damon/trust/keys'
import { z } from 'zod'
import type { Clock } from './clock.ts'
import type { DeliveryRules } from './delivery-rules.ts'
import type { Metrics, ReaderStage } from './metrics.ts'
import type { KnownReader, ReaderRegistry } from './reader-registry.ts'
import type { Records, RecordWatch } from './records.ts'
import type { RolloutState, Rollouts } from './rollout.ts'
import type { Shelf, StoredCertificate } from './shelf.ts'
import { Turnstile } from './turnstile.ts'

/** Puts on their way at a time: enough to hide the way to the hub and back. */
const parallelPuts = 32
const retryMs = { baseMs: 500, maxMs: 30_000 } as const

const envelopePayload = z.object({ version: z.int(), fingerprint: z.string() })
type Delivered = z.output<typeof envelopePayload>

/** What the delivery works with. */
export interface DeliveryOptions {
  records: Records
  registry: ReaderRegistry
  shelf: Shelf
  /** How a certificate comes to its readers. */
  rules: (id: string) => Pick<DeliveryRules, 'servedWithin'>
  rollouts: Rollouts
  /** The key of certs' own token: its signature under each envelope. */
  identity: PrivateJwk
  token: string
  aud: string
  clock: Clock
  metrics: Metrics
  log: Logger
}

/**
 * Keeps `cert/…` as it should be: for every reader that is there, each certificate it wants and may have, sealed to its
 * key; nothing for readers that are gone. It compares the two whole states and does not depend on having seen a change.
 */
export class Delivery {
  readonly #options: DeliveryOptions
  readonly #readers: RecordWatch
  readonly #envelopes: RecordWatch
  #wake = Promise.withResolvers<void>()
  #lastVersion = 0
  readonly #versions = new Map<string, number>()
  /** What envelopes say of themselves, read once. */
  readonly #read = new WeakMap<object, Delivered | undefined>()
  /** What this process has put last, by key. */
  readonly #put = new Map<string, Delivered>()
  #stages: ReaderStage[] = []
  /** Late readers that were complained of: their record and what they do not serve. */
  readonly #complained = new Set<string>()

  constructor(options: DeliveryOptions) {
    this.#options = options
    this.#readers = options.records.watch('cert-reader/')
    this.#envelopes = options.records.watch('cert/')
  }

  /** There is something new to deliver. */
  refresh(): void {
    this.#wake.resolve()
  }

  /** How far each certificate has come with each reader. */
  get stages(): readonly ReaderStage[] {
    const { shelf } = this.#options
    return this.#stages.map((stage) => {
      const fingerprint = shelf.current(stage.certificate)?.fingerprint
      if (fingerprint === undefined || fingerprint === stage.fingerprint) return stage
      // What is known is about the one before: the newest has not come to anybody yet.
      const { certificate, reader } = stage
      return { certificate, fingerprint, reader, delivered: false, served: false, late: false }
    })
  }

  /** What goes on with a certificate that is tried on one reader first. */
  trial(id: string): RolloutState | undefined {
    return this.#options.rollouts.state(id)
  }

  /** The highest version of each certificate that was delivered so far. */
  get versions(): ReadonlyMap<string, number> {
    return this.#versions
  }

  /** Runs until the signal is aborted; what fails is tried again. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options
    using _readers = this.#readers
    using _envelopes = this.#envelopes
    using _onReader = this.#readers.on('change', () => this.refresh())
    using _onEnvelope = this.#envelopes.on('change', () => this.refresh())
    const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
    await Promise.race([Promise.all([this.#readers.ready(), this.#envelopes.ready()]), aborted])
    const pause = backoff(retryMs)
    while (!signal.aborted) {
      this.#wake = Promise.withResolvers()
      // A hub that is away holds puts up for longer than a shutdown may take.
      const failures = await Promise.race([this.#reconcile(), aborted.then(() => [])])
      if (failures.length === 0) {
        pause.reset()
        await this.#rest(signal)
        continue
      }
      log.warn({ failures: failures.length, err: failures[0] }, 'certificates could not be delivered, trying again')
      await clock.until(clock.now() + pause.next(), signal).catch(() => {})
    }
  }

  async #reconcile(): Promise<unknown[]> {
    const { registry, metrics } = this.#options
    const readers = await registry.judge(this.#readers.entries)
    const present = new Map([...this.#envelopes.entries].map(([key, { value }]) => [key, this.#lies(value)]))
    for (const delivered of present.values()) this.#lastVersion = Math.max(this.#lastVersion, delivered?.version ?? 0)
    const turnstile = new Turnstile(parallelPuts)
    const steps: Promise<void>[] = []
    const entitled = new Set(readers.flatMap((reader) => reader.wants.map((id) => envelopeKey(reader, id))))
    const stages: ReaderStage[] = []
    const failures: unknown[] = []
    for (const id of new Set(readers.flatMap(({ wants }) => wants))) {
      const current = this.#deliverable(id)
      if (!current) continue
      const receivers = readers.filter(({ wants }) => wants.includes(id))
      const assigned = await this.#assign(current, receivers, present).catch((error) => void failures.push(error))
      if (!assigned) continue
      for (const reader of receivers) {
        const key = envelopeKey(reader, id)
        const lies = present.get(key)
        const certificate = assigned(reader.name)
        const stage: ReaderStage = {
          certificate: id,
          fingerprint: current.fingerprint,
          reader: reader.name,
          delivered: lies?.fingerprint === current.fingerprint,
          served: reader.serving[id]?.fingerprint === current.fingerprint,
          late: false,
        }
        stages.push(stage)
        if (lies && stage.delivered) {
          // A version counts deliveries by the clock: it tells when this one was, also after a restart.
          stage.deliveredAt = lies.version
          this.#count(id, lies.version)
        }
        if (this.#isContested(key, certificate.fingerprint, lies)) continue
        if (lies?.fingerprint !== certificate.fingerprint) {
          steps.push(turnstile.pass(() => this.#deliver(key, reader, certificate, stage, current)))
        }
      }
    }
    for (const key of present.keys()) {
      if (!entitled.has(key)) steps.push(turnstile.pass(() => this.#withdraw(key)))
    }
    const results = await Promise.allSettled(steps)
    this.#complain(stages)
    this.#stages = stages
    metrics.stages(stages)
    return [...failures, ...results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))]
  }

  #lies(value: unknown): Delivered | undefined {
    if (typeof value !== 'object' || value === null) return undefined
    if (!this.#read.has(value)) this.#read.set(value, readDelivered(value))
    return this.#read.get(value)
  }

  /** Which certificate each reader of an id shall have. */
  async #assign(
    current: StoredCertificate,
    receivers: readonly KnownReader[],
    present: ReadonlyMap<string, Delivered | undefined>,
  ): Promise<(reader: string) => StoredCertificate> {
    const { id, fingerprint } = current
    const rollout = await this.#options.rollouts.of(id)
    if (!rollout) return () => current
    const readers = receivers.map((reader) => {
      const lies = present.get(envelopeKey(reader, id))
      const deliveredAt = lies?.fingerprint === fingerprint ? lies.version : undefined
      return { name: reader.name, serves: reader.serving[id]?.fingerprint, deliveredAt }
    })
    return rollout.assign(current, readers)
  }

  /** Says of each reader once that it is late, and once that it is not any more. */
  #complain(stages: readonly ReaderStage[]): void {
    const { clock, rules, log } = this.#options
    const known = new Set<string>()
    for (const stage of stages) {
      const { certificate, fingerprint, reader, deliveredAt, served } = stage
      const key = `${certificate} ${reader} ${fingerprint}`
      known.add(key)
      stage.late = !served && deliveredAt !== undefined && clock.now() >= deliveredAt + rules(certificate).servedWithin
      if (stage.late && !this.#complained.has(key)) {
        this.#complained.add(key)
        const at = new Date(deliveredAt ?? 0)
        log.warn({ certificate, reader, fingerprint, deliveredAt: at }, 'a reader does not serve what it was given')
      } else if (served && this.#complained.delete(key)) {
        log.info({ certificate, reader, fingerprint }, 'a late reader serves it now')
      }
    }
    for (const key of this.#complained) if (!known.has(key)) this.#complained.delete(key)
  }

  /** Waits for a change, or until the time of a reader or of a trial is over. */
  async #rest(signal: AbortSignal): Promise<void> {
    const { clock, rules, rollouts } = this.#options
    const times = rollouts.times
    for (const { certificate, deliveredAt, served, late } of this.#stages) {
      if (deliveredAt !== undefined && !served && !late) times.push(deliveredAt + rules(certificate).servedWithin)
    }
    const awake = new AbortController()
    const end = AbortSignal.any([signal, awake.signal])
    const aborted = new Promise<void>((resolve) => end.addEventListener('abort', () => resolve(), { once: true }))
    const due = times.length === 0 ? aborted : clock.until(Math.min(...times), end).catch(() => {})
    await Promise.race([this.#wake.promise, due, aborted])
    awake.abort()
  }

  /** Whether another certs has replaced what this one put: two that answer each other would never end. */
  #isContested(key: string, fingerprint: string, now: Delivered | undefined): boolean {
    const own = this.#put.get(key)
    if (!own || !now || own.fingerprint !== fingerprint || now.version <= own.version) return false
    if (now.fingerprint === fingerprint) return false
    this.#options.log.error(
      { record: key, by: now },
      'another certs delivers a certificate of its own: only one may run',
    )
    return true
  }

  #deliverable(id: string): StoredCertificate | undefined {
    const certificate = this.#options.shelf.current(id)
    return certificate && this.#options.clock.now() < certificate.notAfter ? certificate : undefined
  }

  async #deliver(
    key: string,
    reader: KnownReader,
    certificate: StoredCertificate,
    stage: ReaderStage,
    current: StoredCertificate,
  ): Promise<void> {
    const { records, identity, token, aud, clock, metrics, log } = this.#options
    const { id, fingerprint } = certificate
    const version = nextVersion(this.#lastVersion, clock.now())
    this.#lastVersion = version
    const jws = await sealCertificate(certificate, { reader, id, version, aud, token, identity })
    await records.put(key, { jws })
    this.#put.set(key, { fingerprint, version })
    stage.delivered = fingerprint === current.fingerprint
    if (stage.delivered) stage.deliveredAt = version
    else delete stage.deliveredAt
    this.#count(id, version)
    metrics.delivered(id)
    log.info({ certificate: id, reader: reader.name, fingerprint, version }, 'delivered')
  }

  #count(id: string, version: number): void {
    this.#versions.set(id, Math.max(version, this.#versions.get(id) ?? 0))
  }

  async #withdraw(key: string): Promise<void> {
    await this.#options.records.drop(key, 'its reader is gone').catch((error) => {
      if (!(error instanceof DamonError && error.code === 'not_found')) throw error
    })
    this.#put.delete(key)
    this.#options.log.info({ record: key }, 'withdrawn')
  }
}

/**
 * What an envelope says of itself. Nobody verifies it here: a hub that makes an envelope up only keeps the certificate from
 * its reader, which it could do anyway, and which shows by the missing receipt.
 */
function readDelivered(value: unknown): Delivered | undefined {
  const payload = certRecord.safeParse(value).data?.jws.split('.')[1]
  try {
    return envelopePayload.parse(JSON.parse(Buffer.from(payload ?? '', 'base64url').toString()))
  } catch {
    return undefined
  }
}
