import type { CertificatePair } from '@damon/trust/envelope'

/** What is asked of an issuer. */
export interface Order {
  /** Id of the certificate, for logs. */
  id: string
  /** DNS names in lower-case ASCII, the first one first in the certificate; wildcards begin with `*.`. */
  names: readonly string[]
}

/** An authority that signs certificates. */
export interface Issuer {
  /**
   * Makes one attempt, with a fresh key, and resolves to key and chain in PEM, leaf first. Throws a CertsError.
   * MUST take back what it published, also after a failure and after an abort, or leave it in a journal that is swept at
   * the next start. MUST NOT wait longer than minutes: the caller owns the retries. MUST NOT touch what was issued before.
   */
  issue(order: Order, signal: AbortSignal): Promise<CertificatePair>
}
