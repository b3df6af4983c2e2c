import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import { DamonError, damonError } from '@damon/protocol/errors'
import { checkPair } from '@damon/trust/certificate-node'
import type { OpenedCertificate } from '@damon/trust/envelope'
import { Backoff } from './backoff.ts'
import { CertificateCache } from './certificate-cache-node.ts'
import { type Deferred, deferred, unlessAborted, unrefTimer } from './deferred.ts'
import { Listeners, warn } from './listeners.ts'
import { type CertificateHub, type Follower, type ReaderSession, readerSession } from './reader-session-node.ts'
import { ownAddress, type ServerAddress, servedFingerprint, serverName } from './served-certificate-node.ts'

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
  /** A delivery or a kept certificate was refused, or the reader cannot be announced; the certificate before it stays in use. */
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

const proofMs = 60_000

/** How a certificate is received. */
export interface CertificateOptions {
  /** Names that it has to be for, beside what certs was told. */
  names?: readonly string[]
  /**
   * A folder where the last certificate is kept, sealed and for its owner alone, so that this process can start with it
   * while hub or certs are down. Each identity needs one of its own.
   */
  cacheDir?: string
}

/**
 * Begins to receive a certificate: announces what this process wants and waits for what is sealed to its key, which all
 * certificates of a hub share. The token needs `cert:ID`.
 */
export function certificates(hub: CertificateHub, id: string, options: CertificateOptions = {}): CertificateReader {
  return new CertificateReader(hub, id, options)
}

/**
 * Receives one certificate under the fresh key of this process. Nothing it is given by the hub is believed: an envelope has
 * to be sealed to this key by someone entitled, be newer than the last, and hold a pair, chain, names and dates that fit.
 */
export class CertificateReader implements AsyncDisposable {
  readonly id: string
  readonly #names: readonly string[]
  readonly #listeners = new Listeners<CertificateEvents>(warn)
  readonly #first: Deferred<DeliveredCertificate> = deferred()
  readonly #servers = new Map<TlsServer, SecureContextOptions>()
  readonly #opened = new AbortController()
  readonly #session: ReaderSession
  readonly #follower: Follower
  #current: DeliveredCertificate | undefined
  #context: SecureContext | undefined
  /** Of the last delivery; a kept certificate is none, it was sealed to the key of an earlier process. */
  #version = 0
  /** Proofs of the current certificate that have not come: as long as one is missing there is no receipt. */
  #unproven = new Set<object>()
  #lastText: string | undefined
  #cache: CertificateCache | undefined
  #queue: Promise<void>

  constructor(hub: CertificateHub, id: string, { names = [], cacheDir }: CertificateOptions) {
    this.id = id
    this.#names = names
    this.#session = readerSession(hub)
    this.#follower = {
      id,
      take: (text) => {
        this.#queue = this.#queue.then(() => this.#take(text))
      },
      isProven: () => this.#unproven.size === 0,
      refuse: (error) => this.#refuse(error),
    }
    this.#queue = cacheDir === undefined ? Promise.resolve() : this.#resume(hub, cacheDir)
    this.#session.join(this.#follower).catch((error) => {
      if (this.#opened.signal.aborted) return
      this.#refuse(error)
      this.#first.reject(error)
    })
  }

  /** The certificate in use, nothing before the first. */
  get current(): DeliveredCertificate | undefined {
    return this.#current
  }

  /** The certificate in use as Node's TLS takes it; ask anew for each handshake. */
  get secureContext(): SecureContext | undefined {
    if (this.#current) this.#context ??= createSecureContext({ key: this.#current.key, cert: this.#current.chain })
    return this.#context
  }

  /** Resolves to the certificate in use, or the first one to come, kept or delivered. Rejects when the hub refuses the reader for good, or at `close`. */
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
    if (this.#current) {
      server.setSecureContext({ ...options, key: this.#current.key, cert: this.#current.chain })
      this.#expectProof(server)
    }
    return { [Symbol.dispose]: () => void this.#servers.delete(server) }
  }

  /**
   * Looks which certificate a server shows, for up to a minute, until it is the one in use; then tells certs so, once no
   * other proof is missing. Rejects with `timed_out` and what it saw last, or with `closed` when there is a newer one.
   */
  async prove(address: ServerAddress): Promise<void> {
    const certificate = this.#current
    if (!certificate) throw damonError('not_found', `There is no certificate ${this.id} yet.`)
    const { signal } = this.#opened
    const unproven = this.#unproven
    const own = {}
    unproven.add(own)
    const pause = new Backoff({ baseMs: 100, maxMs: 2_000 }, Math.random)
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
    unproven.delete(own)
    await this.#session.receive(this.id, certificate)
  }

  /** Ends it; with the last certificate of the hub the reader's record goes. What was sealed goes too; attached servers keep what they have. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#opened.abort()
    this.#first.reject(damonError('closed'))
    await this.#queue
    await this.#session.leave(this.#follower)
  }

  /** Takes up what an earlier process has kept. Whatever is wrong with it, a delivery will come. */
  async #resume(hub: CertificateHub, folder: string): Promise<void> {
    try {
      this.#cache = new CertificateCache(folder, this.id, hub.credential)
      const kept = await this.#cache.load()
      if (kept && !this.#opened.signal.aborted) this.#use(kept)
    } catch (error) {
      this.#refuse(error)
    }
  }

  async #take(text: string): Promise<void> {
    if (text === this.#lastText || this.#opened.signal.aborted) return
    this.#lastText = text
    try {
      const opened = await this.#session.open(text, this.id, this.#version)
      this.#use(opened)
      this.#version = opened.version
    } catch (error) {
      this.#refuse(error)
      return
    }
    // What is in use is not taken back because a disk is full.
    await this.#cache?.store(this.#current!).catch(warn)
  }

  /** Puts a certificate to use everywhere; throws, and changes nothing, when anything about it is wrong. */
  #use({ key, chain, fingerprint, version }: OpenedCertificate): void {
    const { names, notBefore, notAfter } = checkPair({ key, chain, names: this.#names, now: Date.now() })
    const certificate = { key, chain, fingerprint, version, names, notBefore, notAfter }
    this.#context = this.#switch(certificate)
    this.#current = certificate
    this.#unproven = new Set()
    for (const server of this.#servers.keys()) this.#expectProof(server)
    this.#first.resolve(this.#current)
    this.#listeners.emit('change', this.#current)
  }

  /**
   * Gives all servers a certificate, or throws and leaves them what they had: OpenSSL may find its key too weak. Building a
   * context is most of the work, so one for ourselves is only built where no server tells whether it can be.
   */
  #switch({ key, chain }: DeliveredCertificate): SecureContext | undefined {
    if (this.#servers.size === 0) return createSecureContext({ key, cert: chain })
    const switched: TlsServer[] = []
    try {
      for (const [server, options] of this.#servers) {
        server.setSecureContext({ ...options, key, cert: chain })
        switched.push(server)
      }
    } catch (error) {
      const before = this.#current
      if (before) {
        for (const server of switched) {
          server.setSecureContext({ ...this.#servers.get(server), key: before.key, cert: before.chain })
        }
      }
      throw error
    }
    return undefined
  }

  #expectProof(server: TlsServer): void {
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
