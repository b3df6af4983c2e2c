import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import { DamonError, damonError } from '@damon/protocol/errors'
import { certRecord } from '@damon/protocol/records'
import { checkPair } from '@damon/trust/certificate-node'
import type { Credential } from '@damon/trust/credential'
import { openCertificate } from '@damon/trust/envelope'
import type { PrivateJwk } from '@damon/trust/keys'
import { createReader, type Reader, readerKey, signReceipt, signStatement, statementTtl } from '@damon/trust/reader'
import { type TrustList, verifyTrustList } from '@damon/trust/trust-list'
import { Backoff } from './backoff.ts'
import { type Deferred, deferred, unlessAborted, unrefTimer } from './deferred.ts'
import { Listeners, warn } from './listeners.ts'
import { ownAddress, type ServerAddress, servedFingerprint, serverName } from './served-certificate-node.ts'

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

/** A certificate that has passed every check. */
export interface DeliveredCertificate {
  /** PEM (PKCS 8). */
  key: string
  /** PEM, leaf first. */
  chain: string
  /** SHA-256 of the leaf's DER, hex. */
  fingerprint: string
  /** Counts deliveries. */
  version: number
  names: readonly string[]
  notBefore: Date
  notAfter: Date
}

/** What a reader tells. */
export interface CertificateEvents {
  /** There is a new certificate, checked; servers that are attached have it already. */
  change: DeliveredCertificate
  /** A delivery was refused, or the reader cannot be announced; the certificate before it stays in use. */
  refused: DamonError
  /** A server did not show the certificate in time. */
  unproven: Error
}

/** A server whose certificate can be changed while it runs: those of `node:https`, `node:http2` and `node:tls`. */
export interface TlsServer extends NodeJS.EventEmitter {
  listening: boolean
  address(): AddressInfo | string | null
  setSecureContext(options: SecureContextOptions): void
}

/** The half of a statement's life: the next one comes in time, also when the hub is away for hours. */
const statementMs = (statementTtl / 2) * 1_000
const proofMs = 60_000

/** Begins to receive a certificate: announces a fresh key for it and waits for what is sealed to that key. The token needs `cert:ID`. */
export function certificates(
  hub: CertificateHub,
  id: string,
  options: { names?: readonly string[] } = {},
): CertificateReader {
  return new CertificateReader(hub, id, options)
}

/**
 * Receives one certificate under one fresh key. Nothing it is given by the hub is believed: an envelope has to be sealed to
 * this key by someone entitled, be newer than the last, and hold a pair, chain, names and dates that fit.
 */
export class CertificateReader implements AsyncDisposable {
  readonly id: string
  readonly #hub: CertificateHub
  readonly #names: readonly string[]
  readonly #listeners = new Listeners<CertificateEvents>(warn)
  readonly #first: Deferred<DeliveredCertificate> = deferred()
  readonly #servers = new Map<TlsServer, SecureContextOptions>()
  readonly #opened = new AbortController()
  readonly #started: Promise<Session | undefined>
  #current: DeliveredCertificate | undefined
  #lastText: string | undefined
  #queue: Promise<void> = Promise.resolve()

  constructor(hub: CertificateHub, id: string, { names = [] }: { names?: readonly string[] }) {
    this.#hub = hub
    this.id = id
    this.#names = names
    this.#started = this.#start().catch((error) => {
      this.#refuse(error)
      this.#first.reject(error)
      return undefined
    })
  }

  /** The certificate in use, nothing before the first. */
  get current(): DeliveredCertificate | undefined {
    return this.#current
  }

  /** Resolves to the certificate in use, or the first one to come. Rejects when the hub refuses the reader for good, or at `close`. */
  async ready(signal?: AbortSignal): Promise<DeliveredCertificate> {
    return this.#current ?? unlessAborted(this.#first.promise, signal)
  }

  on<E extends keyof CertificateEvents>(event: E, listener: (value: CertificateEvents[E]) => void): Disposable {
    return this.#listeners.on(event, listener)
  }

  /**
   * Gives a server every certificate from now on: new handshakes show it, open connections live on. `options` are the
   * server's other TLS options, which Node would forget. Once it listens, each change is proven by a handshake.
   */
  attach(server: TlsServer, options: SecureContextOptions = {}): Disposable {
    this.#servers.set(server, options)
    if (this.#current) this.#give(server, options, this.#current)
    return { [Symbol.dispose]: () => void this.#servers.delete(server) }
  }

  /**
   * Looks which certificate a server shows, for up to a minute, until it is the one in use; then tells certs so. Rejects
   * with `timed_out` and what it saw last, or as soon as there is a newer certificate to look for.
   */
  async prove(address: ServerAddress): Promise<void> {
    const certificate = this.#current
    if (!certificate) throw damonError('not_found', `There is no certificate ${this.id} yet.`)
    const { signal } = this.#opened
    const pause = new Backoff({ baseMs: 100, maxMs: 5_000 }, Math.random)
    const deadline = performance.now() + proofMs
    for (let seen: unknown; ; ) {
      try {
        seen = await servedFingerprint(address, serverName(certificate.names))
      } catch (error) {
        seen = error
      }
      if (signal.aborted || this.#current !== certificate)
        throw damonError('closed', 'Another certificate took its place.')
      if (seen === certificate.fingerprint) break
      if (performance.now() > deadline) {
        const detail = seen instanceof Error ? seen.message : `It shows ${seen}.`
        throw damonError('timed_out', `The server does not show certificate ${this.id}. ${detail}`, { cause: seen })
      }
      await new Promise<void>((resolve) => unrefTimer(resolve, pause.next()))
    }
    await (await this.#started)?.receive(certificate)
  }

  /** Ends the reader: its record goes, and with it what was sealed to it. Attached servers keep what they have. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#opened.abort()
    this.#first.reject(damonError('closed'))
    const session = await this.#started
    await this.#queue
    await session?.close()
  }

  async #start(): Promise<Session> {
    const session = await Session.open(this.#hub, this.id, (error) => this.#refuse(error))
    if (this.#opened.signal.aborted) return session
    session.follow((text) => {
      this.#queue = this.#queue.then(() => this.#take(text, session))
    })
    session.ready().catch((error) => {
      if (this.#opened.signal.aborted) return
      this.#refuse(error)
      this.#first.reject(error)
    })
    return session
  }

  async #take(text: string, session: Session): Promise<void> {
    if (text === this.#lastText || this.#opened.signal.aborted) return
    this.#lastText = text
    try {
      const opened = await session.open(text, this.#current?.version ?? 0)
      const { key, chain, fingerprint, version } = opened
      const { names, notBefore, notAfter } = checkPair({ key, chain, names: this.#names, now: Date.now() })
      // The last thing that could fail in a server: keys that this OpenSSL finds too weak.
      createSecureContext({ key, cert: chain })
      this.#current = { key, chain, fingerprint, version, names, notBefore, notAfter }
    } catch (error) {
      this.#refuse(error)
      return
    }
    for (const [server, options] of this.#servers) this.#give(server, options, this.#current)
    this.#first.resolve(this.#current)
    this.#listeners.emit('change', this.#current)
  }

  #give(server: TlsServer, options: SecureContextOptions, { key, chain }: DeliveredCertificate): void {
    server.setSecureContext({ ...options, key, cert: chain })
    this.#proveServer(server).catch((error) => {
      if (!(error instanceof DamonError && error.code === 'closed')) this.#listeners.emit('unproven', error)
    })
  }

  async #proveServer(server: TlsServer): Promise<void> {
    if (!server.listening) await once(server, 'listening', { signal: this.#opened.signal }).catch(() => {})
    const address = this.#servers.has(server) && ownAddress(server.address())
    if (address && !this.#opened.signal.aborted) await this.prove(address)
  }

  #refuse(error: unknown): void {
    const coded = error instanceof DamonError ? error : damonError('bad_envelope', undefined, { cause: error })
    if (!this.#listeners.emit('refused', coded)) warn(coded)
  }
}

/** The reader as the hub sees it: its key, its record and what lies sealed for it. */
class Session {
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
  static async open(hub: CertificateHub, id: string, refuse: (error: unknown) => void): Promise<Session> {
    const { identity, token, aud, root, trust: text } = hub.credential
    if (!identity)
      throw damonError('bad_credential', 'identity: a reader of certificates signs with the key of its token.')
    const trust = await verifyTrustList(text, root, { aud })
    const reader = await createReader(hub.subject.split('/')[0] ?? '')
    const statement = await signStatement(reader, { identity, token, aud, wants: [id], now: Date.now() })
    return new Session(hub, id, refuse, { reader, identity, trust, statement })
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
  open(text: string, after: number) {
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
  async receive({ fingerprint, version }: DeliveredCertificate): Promise<void> {
    const { aud } = this.#hub.credential
    const serving = { [this.#id]: { fingerprint, version } }
    const receipts = await signReceipt(this.#reader, { identity: this.#identity, aud, serving })
    await this.#update({ ...this.#record, receipts })
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#watch[Symbol.dispose]()
    await this.#announcement.drop('the reader ended').catch(() => {})
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
