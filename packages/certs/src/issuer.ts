import type { CertificatePair } from '@damon/trust/envelope'
import type { RenewalWindow } from './renewal-info.ts'
import type { KeyType } from './wanted.ts'

/** What is asked of an issuer. */
export interface Order {
  /** Id of the certificate, for logs and for what is kept to resume the order. */
  id: string
  /** DNS names in lower-case ASCII, the first one first in the certificate; wildcards begin with `*.`. */
  names: readonly string[]
  keyType: KeyType
  profile?: string | undefined
  /** What is in use now: an order that was begun after another certificate is not this one. */
  current?:
    | {
        fingerprint: string
        /** For exactly these names. */
        isSame: boolean
        /** Its chain, where this issuer made it. */
        chain?: string | undefined
        /** Now lies within the window that the authority suggested for it. */
        isInWindow: boolean
      }
    | undefined
  /** Throws `lease_lost` when another certs has taken the certificate over. */
  fence(): Promise<void>
}

/** Why a certificate is revoked (RFC 5280, 5.3.1), as far as authorities take it from subscribers. */
export const revocationReasons = { unspecified: 0, keyCompromise: 1, superseded: 4, cessationOfOperation: 5 } as const
export type RevocationReason = keyof typeof revocationReasons

/** An authority that signs certificates. */
export interface Issuer {
  /**
   * Makes one attempt, with a fresh key, and resolves to key and chain in PEM, leaf first. Throws a CertsError.
   * MUST keep what it takes to go on after a crash at any point without a second certificate, until `settle`. MUST take
   * back what it published, also after a failure and after an abort, or leave it in a journal that is swept at the next
   * start. MUST NOT wait longer than minutes: the caller owns the retries. MUST NOT touch what was issued before. MUST
   * call `order.fence` before each step that the authority counts.
   */
  issue(order: Order, signal: AbortSignal): Promise<CertificatePair>
  /** The pair of this id was stored, or is of no use: what was kept to resume its order goes. */
  settle(id: string): Promise<void>
  /** Has the leaf of a chain revoked; doing it twice is harmless. Throws a CertsError. */
  revoke(chain: string, reason: RevocationReason, signal: AbortSignal): Promise<void>
  /** Orders at the authority's test system first. Throws `rehearsal_failed`; does nothing where there is none. */
  rehearse?(order: Order, signal: AbortSignal): Promise<void>
  /** When the authority wants a certificate renewed; nothing if it says nothing of it. Throws a CertsError. */
  renewalInfo?(chain: string, signal: AbortSignal): Promise<RenewalWindow | undefined>
  /** Unix ms before which an order would break a limit of the authority, and which; nothing if it may be made now. */
  refusal?(order: Order): Promise<{ at: number; message: string } | undefined>
}
