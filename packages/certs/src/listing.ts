import type { Delivery } from './delivery.ts'
import type { Renewal } from './renewal.ts'

/** How far a certificate has come with one reader. */
export interface ListedReader {
  /** SERVICE/READER */
  reader: string
  delivered: boolean
  served: boolean
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
  readers: ListedReader[]
}

/** What `certs.list` answers: every wanted certificate and where it has got to. Holds no key. */
export function listCertificates(
  renewals: readonly Renewal[],
  delivery: Pick<Delivery, 'stages' | 'versions'>,
  now: number,
): ListedCertificate[] {
  return renewals.map((renewal) => {
    const { current, failures, due, wanted } = renewal
    const version = delivery.versions.get(wanted.id)
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
      readers: delivery.stages
        .filter(({ certificate }) => certificate === wanted.id)
        .map(({ reader, delivered, served }) => ({ reader, delivered, served })),
    }
  })
}
