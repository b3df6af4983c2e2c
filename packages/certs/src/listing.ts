import type { Delivery } from './delivery.ts'
import type { Renewal } from './renewal.ts'
import type { RolloutState } from './rollout.ts'

/** How far a certificate has come with one reader. */
export interface ListedReader {
  /** SERVICE/READER */
  reader: string
  delivered: boolean
  served: boolean
  /** When it was delivered; absent while it is not. */
  deliveredAt?: number
  /** It was delivered, but is not served, for longer than the certificate's `servedWithin`. */
  late: boolean
}

/** One certificate in the answer to `certs.list`. Times are Unix ms; those of the certificate are absent while there is none. */
export interface ListedCertificate {
  id: string
  names: readonly string[]
  issuer: string
  notBefore?: number
  notAfter?: number
  /** When it is ordered next. */
  renewAt: number
  fingerprint?: string
  /** Counts deliveries: the highest so far. */
  version?: number
  /** Why the last attempt failed, while none has succeeded since. */
  lastError?: { code: string; message: string; at: number; failures: number }
  /** What goes on while it is tried on one reader: that reader, failed trials, and when this ends, where known. */
  trial?: RolloutState
  readers: ListedReader[]
}

/** What `certs.list` answers: every wanted certificate and where it has got to. Holds no key. */
export function listCertificates(
  renewals: readonly Renewal[],
  delivery: Pick<Delivery, 'stages' | 'versions' | 'trial'>,
  now: number,
): ListedCertificate[] {
  return renewals.map((renewal) => {
    const { current, failures, due, wanted } = renewal
    const version = delivery.versions.get(wanted.id)
    const trial = delivery.trial(wanted.id)
    return {
      id: wanted.id,
      names: wanted.names,
      issuer: current?.issuer ?? renewal.issuer,
      ...(current && {
        notBefore: current.notBefore,
        notAfter: current.notAfter,
        fingerprint: current.fingerprint,
      }),
      renewAt: Math.max(due.at, now),
      ...(version !== undefined && { version }),
      ...(failures && {
        lastError: { code: failures.code, message: failures.message, at: failures.lastAt, failures: failures.count },
      }),
      ...(trial && { trial }),
      readers: delivery.stages
        .filter(({ certificate }) => certificate === wanted.id)
        .map(({ certificate: _, fingerprint: __, ...stage }) => stage),
    }
  })
}
