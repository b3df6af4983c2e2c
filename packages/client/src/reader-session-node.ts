import { damonError } from '@damon/protocol/errors'
import { certRecord } from '@damon/protocol/records'
import type { Credential } from '@damon/trust/credential'
import { type OpenedCertificate, openCertificate } from '@damon/trust/envelope'
import type { PrivateJwk } from '@damon/trust/keys'
import {
  createReader,
  type Reader,
  readerKey,
  type Serving,
  signReceipt,
  signStatement,
  statementTtl,
} from '@damon/trust/reader'
import { type TrustList, verifyTrustList } from '@damon/trust/trust-list'
import { deferred, unrefTimer } from './deferred.ts'

/** What a reader needs of its hub; the SDK's Hub is one. */
export interface CertificateHub {
  readonly credential: Credential
  readonly subject: string
  announce(
    key: string,
    value: unknown,
  ): { ready(): Promise<void>; update(value: unknown): Promise<void>; drop(reason: string): Promise<void> }
  watch(prefix: string): {
    readonly entries: ReadonlyMap<string, { value: unknown }>
    ready(): Promise<void>
    on(event: 'change', listener: () => void): Disposable
  } & Disposable
}

/** How long a reader that ends waits for the hub to take its record away. */
const goodbyeMs = 1_000

/** The half of a statement's life: the next one comes in time, also when the hub is away for hours. */
const statementMs = (statementTtl / 2) * 1_000
/** The reader as the hub sees it: its key, its record and what lies sealed for it. */
export class ReaderSession {
  readonly #reader: Reader
  readonly #id: string
  readonly #hub: CertificateHub
  readonly #identity: PrivateJwk
  readonly #trust: TrustList
  readonly #announcement: ReturnType<CertificateHub['announce']>
  readonly #watch: ReturnType<CertificateHub['watch']>
  readonly #refuse: (error: unknown) => void
  #record: { statement: string; receipts?: string }
  #timer: ReturnType<typeof setTimeout> | undefined

  private constructor(
    hub: CertificateHub,
    id: string,
    refuse: (error: unknown) => void,
    made: { reader: Reader; identity: PrivateJwk; trust: TrustList; statement: string },
  ) {
    this.#hub = hub
    this.#id = id
    this.#refuse = refuse
    this.#reader = made.reader
    this.#identity = made.identity
    this.#trust = made.trust
    this.#record = { statement: made.statement }
    this.#watch = hub.watch(`cert/${made.reader.name}/`)
    this.#announcement = hub.announce(readerKey(made.reader), this.#record)
    this.#schedule()
  }

  /** Makes the key and announces it. Throws `bad_credential`, `bad_trust_list`. */
  static async open(hub: CertificateHub, id: string, refuse: (error: unknown) => void): Promise<ReaderSession> {
    const { identity, token, aud, root, trust: text } = hub.credential
    if (!identity)
      throw damonError('bad_credential', 'identity: a reader of certificates signs with the key of its token.')
    const trust = await verifyTrustList(text, root, { aud })
    const reader = await createReader(hub.subject.split('/')[0] ?? '')
    const statement = await signStatement(reader, { identity, token, aud, wants: [id], now: Date.now() })
    return new ReaderSession(hub, id, refuse, { reader, identity, trust, statement })
  }

  async ready(): Promise<void> {
    await Promise.all([this.#watch.ready(), this.#announcement.ready()])
  }

  /** Calls for each text that lies in the record of this certificate, from now on. */
  follow(take: (text: string) => void): void {
    const key = `cert/${this.#reader.name}/${this.#id}`
    const look = () => {
      const entry = this.#watch.entries.get(key)
      if (!entry) return
      const record = certRecord.safeParse(entry.value)
      if (record.success) take(record.data.jws)
      else this.#refuse(damonError('bad_envelope', 'The record holds no envelope.', { cause: record.error }))
    }
    this.#watch.on('change', look)
    look()
  }

  /** Opens an envelope. Throws `bad_envelope`, `stale_envelope`. */
  open(text: string, after: number): Promise<OpenedCertificate> {
    const { aud } = this.#hub.credential
    return openCertificate(text, {
      reader: this.#reader,
      id: this.#id,
      aud,
      trust: this.#trust,
      now: Date.now(),
      after,
    })
  }

  /** Tells certs that a server serves this certificate. */
  async receive({ fingerprint, version }: Serving[string]): Promise<void> {
    const { aud } = this.#hub.credential
    const serving = { [this.#id]: { fingerprint, version } }
    const receipts = await signReceipt(this.#reader, { identity: this.#identity, aud, serving })
    await this.#update({ ...this.#record, receipts })
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#watch[Symbol.dispose]()
    // Without the hub there is nobody to tell: the lease ends by itself.
    const late = deferred<void>()
    const timer = setTimeout(late.resolve, goodbyeMs)
    await Promise.race([this.#announcement.drop('the reader ended').catch(() => {}), late.promise])
    clearTimeout(timer)
  }

  #schedule(): void {
    this.#timer = unrefTimer(() => {
      this.#renew().catch(this.#refuse)
      this.#schedule()
    }, statementMs)
  }

  async #renew(): Promise<void> {
    const { token, aud } = this.#hub.credential
    const statement = await signStatement(this.#reader, {
      identity: this.#identity,
      token,
      aud,
      wants: [this.#id],
      now: Date.now(),
    })
    await this.#update({ ...this.#record, statement })
  }

  #update(record: { statement: string; receipts?: string }): Promise<void> {
    this.#record = record
    return this.#announcement.update(record)
  }
}
