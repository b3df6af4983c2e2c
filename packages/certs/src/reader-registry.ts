import { DamonError } from '@damon/protocol/errors'
import { certReader } from '@damon/protocol/records'
import type { Logger } from '@damon/runtime/logger'
import { type Serving, type VerifiedReader, verifyReader, verifyReceipt } from '@damon/trust/reader'
import type { TrustList } from '@damon/trust/trust-list'
import type { Clock } from './clock.ts'
import type { Metrics } from './metrics.ts'
import type { WatchedRecord } from './records.ts'

/** A reader that may have certificates, and what it says it serves. */
export interface KnownReader extends VerifiedReader {
  serving: Serving
}

/** What was found out about one text of a record, so that it is verified and complained of once. */
interface Finding {
  statement: string
  reader: VerifiedReader | undefined
  receipts: string | undefined
  serving: Serving
}

/** Tells true readers from forged ones: the hub that passes their records on is not believed. */
export class ReaderRegistry {
  readonly #options: { trust: TrustList; aud: string; clock: Clock; metrics: Metrics; log: Logger }
  readonly #findings = new Map<string, Finding>()

  constructor(options: { trust: TrustList; aud: string; clock: Clock; metrics: Metrics; log: Logger }) {
    this.#options = options
  }

  /** The readers among these records (`cert-reader/…`) whose statement and token hold now. */
  async judge(records: ReadonlyMap<string, WatchedRecord>): Promise<KnownReader[]> {
    for (const key of this.#findings.keys()) if (!records.has(key)) this.#findings.delete(key)
    // All at once: signatures are verified by other threads.
    const findings = await Promise.all([...records].map(([key, record]) => this.#find(key, record)))
    return findings.flatMap(({ reader, serving }) => (reader && !this.#isOver(reader) ? { ...reader, serving } : []))
  }

  async #find(key: string, record: WatchedRecord): Promise<Finding> {
    const { statement, receipts } = certReader.safeParse(record.value).data ?? { statement: '' }
    const known = this.#findings.get(key)
    const finding: Finding =
      known?.statement === statement
        ? known
        : { statement, reader: await this.#verify(key, record, statement), receipts: undefined, serving: {} }
    if (finding.reader && receipts !== undefined && receipts !== finding.receipts) {
      finding.receipts = receipts
      finding.serving = await this.#read(key, receipts, finding.reader)
    }
    this.#findings.set(key, finding)
    return finding
  }

  async #verify(key: string, record: WatchedRecord, statement: string): Promise<VerifiedReader | undefined> {
    const { trust, aud, clock, log } = this.#options
    try {
      // Its lease is what tells that the process with the key is still there.
      if (!record.leased) throw new DamonError('bad_reader', 'The record of a reader must be leased.')
      const reader = await verifyReader({ statement }, key, { trust, aud, now: clock.now() })
      const { name, wants, denied, claims } = reader
      log.info({ reader: name, sub: claims.sub, jti: claims.jti, wants, denied }, 'reader accepted')
      return reader
    } catch (error) {
      this.#refuse(key, error, 'reader refused')
      return undefined
    }
  }

  async #read(key: string, receipts: string, reader: VerifiedReader): Promise<Serving> {
    try {
      return await verifyReceipt(receipts, reader)
    } catch (error) {
      this.#refuse(key, error, 'receipt refused')
      return {}
    }
  }

  #refuse(key: string, error: unknown, what: string): void {
    const { metrics, log } = this.#options
    metrics.readerRefused(error instanceof DamonError ? error.code : 'failed')
    log.warn({ record: key, err: error }, what)
  }

  #isOver(reader: VerifiedReader): boolean {
    return this.#options.clock.now() / 1000 >= Math.min(reader.exp, reader.claims.exp)
  }
}
