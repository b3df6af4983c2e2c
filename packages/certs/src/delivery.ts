import { DamonError } from '@damon/protocol/errors'
import { certRecord } from '@damon/protocol/records'
import type { Logger } from '@damon/runtime/logger'
import { backoff } from '@damon/runtime/retry'
import { envelopeKey, nextVersion, sealCertificate } from '@damon/trust/envelope'
import type { PrivateJwk } from '@damon/trust/keys'
import { z } from 'zod'
import type { Clock } from './clock.ts'
import type { Metrics, ReaderStage } from './metrics.ts'
import type { KnownReader, ReaderRegistry } from './reader-registry.ts'
import type { Records, RecordWatch } from './records.ts'
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
  /** What this process has put last, by key. */
  readonly #put = new Map<string, Delivered>()
  #stages: ReaderStage[] = []

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
    return this.#stages
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
        await Promise.race([this.#wake.promise, aborted])
        continue
      }
      log.warn({ failures: failures.length, err: failures[0] }, 'certificates could not be delivered, trying again')
      await clock.until(clock.now() + pause.next(), signal).catch(() => {})
    }
  }

  async #reconcile(): Promise<unknown[]> {
    const { registry, metrics } = this.#options
    const readers = await registry.judge(this.#readers.entries)
    const present = new Map([...this.#envelopes.entries].map(([key, { value }]) => [key, readDelivered(value)]))
    for (const delivered of present.values()) this.#lastVersion = Math.max(this.#lastVersion, delivered?.version ?? 0)
    const turnstile = new Turnstile(parallelPuts)
    const steps: Promise<void>[] = []
    const entitled = new Set<string>()
    const stages: ReaderStage[] = []
    for (const reader of readers) {
      for (const id of reader.wants) {
        const key = envelopeKey(reader, id)
        entitled.add(key)
        const certificate = this.#deliverable(id)
        if (!certificate) continue
        const { fingerprint } = certificate
        const stage: ReaderStage = {
          certificate: id,
          reader: reader.name,
          delivered: present.get(key)?.fingerprint === fingerprint,
          served: reader.serving[id]?.fingerprint === fingerprint,
        }
        stages.push(stage)
        if (stage.delivered) this.#count(id, present.get(key)?.version ?? 0)
        if (this.#isContested(key, fingerprint, present.get(key))) continue
        if (!stage.delivered) steps.push(turnstile.pass(() => this.#deliver(key, reader, certificate, stage)))
      }
    }
    for (const key of present.keys()) {
      if (!entitled.has(key)) steps.push(turnstile.pass(() => this.#withdraw(key)))
    }
    const results = await Promise.allSettled(steps)
    this.#stages = stages
    metrics.stages(stages)
    return results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
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

  async #deliver(key: string, reader: KnownReader, certificate: StoredCertificate, stage: ReaderStage): Promise<void> {
    const { records, identity, token, aud, clock, metrics, log } = this.#options
    const { id, fingerprint } = certificate
    const version = nextVersion(this.#lastVersion, clock.now())
    this.#lastVersion = version
    const jws = await sealCertificate(certificate, { reader, id, version, aud, token, identity })
    await records.put(key, { jws })
    this.#put.set(key, { fingerprint, version })
    stage.delivered = true
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
