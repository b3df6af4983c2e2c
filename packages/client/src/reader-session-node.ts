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
import { deferred, quiet, unrefTimer } from './deferred.ts'

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
/** Certificates of one reader, as a statement holds them. */
const mostCertificates = 64
/** The half of a statement's life: the next one comes in time, also when the hub is away for hours. */
const statementMs = (statementTtl / 2) * 1_000

/** Who receives one certificate through the session of its hub. */
export interface Follower {
  readonly id: string
  /** Hears the text of each envelope that lies there for this certificate, the first time it does. */
  take(text: string): void
  /** Nothing that it was asked to prove is missing. */
  isProven(): boolean
  /** Hears what keeps the certificate from coming. */
  refuse(error: unknown): void
}

const sessions = new WeakMap<CertificateHub, ReaderSession>()

/** The session of a hub's reader: the one that is there, or a new one with a fresh key. It ends with its last follower. */
export function readerSession(hub: CertificateHub): ReaderSession {
  const known = sessions.get(hub)
  if (known) return known
  const session: ReaderSession = new ReaderSession(hub, () => {
    if (sessions.get(hub) === session) sessions.delete(hub)
  })
  sessions.set(hub, session)
  return session
}

/** What is known once the reader has its key. */
interface Announced {
  reader: Reader
  identity: PrivateJwk
  trust: TrustList
  watch: ReturnType<CertificateHub['watch']>
  announcement: ReturnType<CertificateHub['announce']>
}

/** The reader of a process as its hub sees it: one key, one record, and what lies sealed for it. */
export class ReaderSession {
  readonly #hub: CertificateHub
  readonly #over: () => void
  readonly #followers = new Map<Follower, { seen: unknown }>()
  readonly #opened: Promise<Announced>
  #turn: Promise<unknown> = Promise.resolve()
  #record: { statement: string; receipts?: string } = { statement: '' }
  #serving: Serving = {}
  /** What the last statement says that it wants. */
  #stated: string[] = []
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(hub: CertificateHub, over: () => void) {
    this.#hub = hub
    this.#over = over
    this.#opened = quiet(this.#open())
  }

  /**
   * Adds a certificate, and resolves once hub and reader know of it. Rejects with `bad_credential`, `bad_trust_list`, with
   * `limit_reached` beyond 64 certificates, and with what the hub refuses the record for.
   */
  async join(follower: Follower): Promise<void> {
    this.#followers.set(follower, { seen: undefined })
    if (this.#wants.length > mostCertificates) {
      this.#followers.delete(follower)
      throw damonError('limit_reached', `A reader may have ${mostCertificates} certificates.`)
    }
    const announced = await this.#opened
    this.#look(announced)
    if (!this.#stated.includes(follower.id)) await this.#restate()
    await Promise.all([announced.watch.ready(), announced.announcement.ready()])
  }

  /** Opens an envelope for one of the certificates. Throws `bad_envelope`, `stale_envelope`. */
  async open(text: string, id: string, after: number): Promise<OpenedCertificate> {
    const { reader, trust } = await this.#opened
    return openCertificate(text, { reader, id, aud: this.#hub.credential.aud, trust, now: Date.now(), after })
  }

  /** Tells certs that the servers of a certificate show it, once none of its followers misses a proof. */
  async receive(id: string, { fingerprint, version }: Serving[string]): Promise<void> {
    for (const follower of this.#followers.keys()) if (follower.id === id && !follower.isProven()) return
    this.#serving = { ...this.#serving, [id]: { fingerprint, version } }
    await this.#change((announced) => this.#receipts(announced))
  }

  /** Takes a certificate away; with the last one the reader ends, and its record goes. */
  async leave(follower: Follower): Promise<void> {
    if (!this.#followers.delete(follower)) return
    if (this.#followers.size === 0) return this.#close()
    if (this.#wants.includes(follower.id)) return
    const { [follower.id]: _, ...serving } = this.#serving
    this.#serving = serving
    await patiently(this.#restate())
  }

  get #wants(): string[] {
    return [...new Set([...this.#followers.keys()].map(({ id }) => id))]
  }

  async #open(): Promise<Announced> {
    const { identity, aud, root, trust: text } = this.#hub.credential
    if (!identity)
      throw damonError('bad_credential', 'identity: a reader of certificates signs with the key of its token.')
    const trust = await verifyTrustList(text, root, { aud })
    const reader = await createReader(this.#hub.subject.split('/')[0] ?? '')
    this.#record = { statement: await this.#statement({ reader, identity }) }
    const watch = this.#hub.watch(`cert/${reader.name}/`)
    const announcement = this.#hub.announce(readerKey(reader), this.#record)
    const announced = { reader, identity, trust, watch, announcement }
    watch.on('change', () => this.#look(announced))
    this.#renewInTime()
    return announced
  }

  #look({ reader, watch }: Announced): void {
    for (const [follower, state] of this.#followers) {
      const entry = watch.entries.get(`cert/${reader.name}/${follower.id}`)
      if (!entry || entry.value === state.seen) continue
      state.seen = entry.value
      const record = certRecord.safeParse(entry.value)
      if (record.success) follower.take(record.data.jws)
      else follower.refuse(damonError('bad_envelope', 'The record holds no envelope.', { cause: record.error }))
    }
  }

  /** Signs what the reader wants now. */
  #statement({ reader, identity }: { reader: Reader; identity: PrivateJwk }): Promise<string> {
    const { token, aud } = this.#hub.credential
    this.#stated = this.#wants
    return signStatement(reader, { identity, token, aud, wants: this.#stated, now: Date.now() })
  }

  /** Signs what the servers of the reader show. */
  async #receipts({ reader, identity }: Announced): Promise<void> {
    const { aud } = this.#hub.credential
    const receipts = await signReceipt(reader, { identity, aud, serving: this.#serving })
    this.#record = { ...this.#record, receipts }
  }

  /** Signs everything anew: certificates that the reader let go of are in neither. */
  #restate(): Promise<void> {
    return this.#change(async (announced) => {
      const statement = await this.#statement(announced)
      this.#record = { ...this.#record, statement }
      if (this.#record.receipts !== undefined) await this.#receipts(announced)
    })
  }

  /** Changes the record, one after another; resolves when the hub has it. */
  async #change(prepare: (announced: Announced) => Promise<void>): Promise<void> {
    const announced = await this.#opened
    const prepared = this.#turn.then(async () => {
      await prepare(announced)
      return { stored: quiet(announced.announcement.update(this.#record)) }
    })
    this.#turn = prepared.catch(() => {})
    await (await prepared).stored
  }

  #renewInTime(): void {
    this.#timer = unrefTimer(() => {
      this.#restate().catch((error) => {
        for (const follower of this.#followers.keys()) follower.refuse(error)
      })
      this.#renewInTime()
    }, statementMs)
  }

  async #close(): Promise<void> {
    this.#over()
    const announced = await this.#opened.catch(() => undefined)
    clearTimeout(this.#timer)
    if (!announced) return
    announced.watch[Symbol.dispose]()
    await patiently(announced.announcement.drop('the reader ended'))
  }
}

/** Without the hub there is nobody to tell, and the lease ends by itself: an end does not wait for long. */
async function patiently(step: Promise<unknown>): Promise<void> {
  const late = deferred<void>()
  const timer = setTimeout(late.resolve, goodbyeMs)
  await Promise.race([step.catch(() => {}), late.promise])
  clearTimeout(timer)
}
