import { counter, gauge } from '@damon/runtime/metrics'
import type { StoredCertificate } from './shelf.ts'

/** How far a certificate has come with one reader; each stage includes those before it. */
export interface ReaderStage {
  certificate: string
  /** Of the certificate that this is about: the current one. */
  fingerprint: string
  /** SERVICE/READER */
  reader: string
  /** The current certificate lies sealed in the reader's record. */
  delivered: boolean
  /** The reader has seen its own server serve the current certificate. */
  served: boolean
  /** When it was delivered, Unix ms, as far as that is known. */
  deliveredAt?: number
  /** It was delivered, but is not served, for longer than the certificate's rules allow. */
  late: boolean
}

const stageNames = ['issued', 'delivered', 'served'] as const

/** What certs tells Prometheus. */
export interface Metrics {
  scheduled(id: string, current: StoredCertificate | undefined, nextAttempt: number): void
  attempt(id: string, result: string): void
  delivered(id: string): void
  readerRefused(code: string): void
  stages(stages: readonly ReaderStage[]): void
  /** A canary did not prove a new certificate. */
  trialFailed(id: string): void
}

/** Registers the metrics of this service. */
export function createMetrics(registry: Parameters<typeof gauge>[0]): Metrics {
  const labelNames = ['certificate' as const]
  const expiry = gauge(registry, {
    name: 'damon_certificate_expiry_timestamp_seconds',
    help: 'When the current certificate ends, 0 while there is none.',
    labelNames,
  })
  const renewal = gauge(registry, {
    name: 'damon_certificate_next_attempt_timestamp_seconds',
    help: 'When the certificate is ordered next.',
    labelNames,
  })
  const attempts = counter(registry, {
    name: 'damon_certificate_attempts_total',
    help: 'Finished attempts to have a certificate issued, by result: issued, or the code of the error.',
    labelNames: ['certificate', 'result'],
  })
  const deliveries = counter(registry, {
    name: 'damon_certificate_deliveries_total',
    help: 'Envelopes sealed and put for a reader.',
    labelNames,
  })
  const refused = counter(registry, {
    name: 'damon_certificate_readers_refused_total',
    help: 'Reader records that were refused, by code.',
    labelNames: ['code'],
  })
  const stage = gauge(registry, {
    name: 'damon_certificate_reader_stage',
    help: 'Whether the current certificate has reached this stage with this reader: issued, delivered, served.',
    labelNames: ['certificate', 'reader', 'stage'],
  })
  const late = gauge(registry, {
    name: 'damon_certificate_late_readers',
    help: 'Readers that do not serve the certificate which was delivered to them, for longer than allowed.',
    labelNames,
  })
  const trials = counter(registry, {
    name: 'damon_certificate_trials_failed_total',
    help: 'New certificates that a canary did not prove.',
    labelNames,
  })
  /** What was told last, by certificate and reader: a thousand readers are not told anew for each change of one. */
  let told = new Map<string, ReaderStage>()
  return {
    scheduled(certificate, current, nextAttempt) {
      expiry.set({ certificate }, (current?.notAfter ?? 0) / 1000)
      renewal.set({ certificate }, nextAttempt / 1000)
    },
    attempt: (certificate, result) => attempts.inc({ certificate, result }),
    delivered: (certificate) => deliveries.inc({ certificate }),
    readerRefused: (code) => refused.inc({ code }),
    stages(stages) {
      const now = new Map(stages.map((one) => [`${one.certificate} ${one.reader}`, one]))
      for (const [key, { certificate, reader }] of told) {
        if (now.has(key)) continue
        for (const name of stageNames) stage.remove({ certificate, reader, stage: name })
      }
      late.reset()
      for (const [key, { certificate, reader, delivered, served, late: isLate }] of now) {
        late.inc({ certificate }, isLate ? 1 : 0)
        const before = told.get(key)
        if (!before) stage.set({ certificate, reader, stage: 'issued' }, 1)
        if (before?.delivered !== delivered) {
          stage.set({ certificate, reader, stage: 'delivered' }, delivered ? 1 : 0)
        }
        if (before?.served !== served) stage.set({ certificate, reader, stage: 'served' }, served ? 1 : 0)
      }
      told = now
    },
    trialFailed: (certificate) => trials.inc({ certificate }),
  }
}
