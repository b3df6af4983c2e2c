import type { Worker as Child } from 'node:cluster'
import { isIPv6, type LookupFunction } from 'node:net'
import { join } from 'node:path'
import * as tls from 'node:tls'
import type { CertificateReader } from '@damon/client/certificates-node'
import { DamonError } from '@damon/protocol/errors'
import type { Config } from '@damon/runtime/config'
import type { Logger } from '@damon/runtime/logger'
import { checkPair } from '@damon/trust/certificate-node'
import { type Credential, parseCredential } from '@damon/trust/credential'
import type { Gauge } from 'prom-client'
import type { hubConfig } from './config.ts'
import type { HubCertificate, PrimaryOrder, WorkerReport } from './report.ts'

/** How often it is looked whether the delivered certificate has ended. */
const lookMs = 5_000

type Settings = Pick<
  Config<typeof hubConfig>,
  'HUB_CONNECTION' | 'HUB_CERTIFICATE' | 'HUB_HOST' | 'HUB_PORT' | 'HUB_STATE_DIR' | 'HUB_TLS_CERT' | 'HUB_TLS_KEY'
>

/**
 * The hub as a reader of its own certificate: it connects to itself, receives the certificate as every reader does, gives it to
 * all workers, and proves it. Until the first delivery, and when a delivered certificate has ended without a next one, it
 * shows the one of its files.
 */
export class OwnCertificate {
  readonly #log: Logger
  readonly #gauge: Pick<Gauge, 'set'>
  readonly #workers: () => Child[]
  #current: HubCertificate | undefined

  constructor(options: { log: Logger; gauge: Pick<Gauge, 'set'>; workers: () => Child[] }) {
    this.#log = options.log
    this.#gauge = options.gauge
    this.#workers = options.workers
  }

  /** A worker has begun to serve, with the certificate of the files. */
  greet(child: Child): void {
    if (this.#current) child.send(orderOf(this.#current))
  }

  /** Begins to receive; resolves without waiting for the hub. Throws `bad_credential`. Disposing it ends the connection. */
  async follow(settings: Settings): Promise<AsyncDisposable> {
    const { HUB_CONNECTION, HUB_CERTIFICATE: id, HUB_STATE_DIR, HUB_PORT: port } = settings
    const host = ownHost(settings.HUB_HOST)
    // Whoever has its certificate in files alone need not load a client.
    const [{ certificates }, { open }] = await Promise.all([
      import('@damon/client/certificates-node'),
      import('@damon/client/connect'),
    ])
    await using made = new AsyncDisposableStack()
    const credential = this.#ownCredential(parseCredential(HUB_CONNECTION?.reveal() ?? ''), settings)
    const hub = made.use(await open(credential, { name: 'hub', lookup: always(host) }))
    const cache = HUB_STATE_DIR === undefined ? {} : { cacheDir: join(HUB_STATE_DIR, 'certificate') }
    const reader = made.use(certificates(hub, id, cache))
    reader.on('refused', (error) => this.#log.error({ certificate: id, err: error }, 'the own certificate was refused'))
    reader.on('change', () => this.#show(reader, { host, port }))
    const files = { key: settings.HUB_TLS_KEY.reveal(), chain: settings.HUB_TLS_CERT }
    const timer = setInterval(() => this.#leaveEnded(reader, files), lookMs)
    made.defer(() => clearInterval(timer))
    return made.move()
  }

  #show(reader: CertificateReader, address: { host: string; port: number }): void {
    const certificate = reader.current
    if (!certificate) return
    const { id } = reader
    const { fingerprint, version, notAfter, names } = certificate
    this.#gauge.set(notAfter.getTime() / 1000)
    this.#present(certificate)
      .then(() => reader.prove(address))
      .then(
        () => this.#log.info({ certificate: id, fingerprint, version, notAfter, names }, 'all workers show it'),
        (error) => {
          if (error instanceof DamonError && error.code === 'closed') return
          this.#log.error({ certificate: id, fingerprint, err: error }, 'the own certificate is not seen to be served')
        },
      )
  }

  /** Gives a certificate to all workers; resolves when each that serves now shows it. */
  async #present({ key, chain, fingerprint }: HubCertificate): Promise<void> {
    this.#current = { key, chain, fingerprint }
    await Promise.all(
      this.#workers().map(async (child) => {
        const shown = shows(child, fingerprint)
        child.send(orderOf({ key, chain, fingerprint }))
        await shown
      }),
    )
  }

  #leaveEnded(reader: CertificateReader, files: { key: string; chain: string }): void {
    if (!reader.current || Date.now() < reader.current.notAfter.getTime()) return
    try {
      const { fingerprint, notAfter } = checkPair({ ...files, now: Date.now() })
      if (this.#current?.fingerprint === fingerprint) return
      this.#log.error({ certificate: reader.id, notAfter }, 'the own certificate has ended: back to that of the files')
      this.#gauge.set(notAfter.getTime() / 1000)
      void this.#present({ ...files, fingerprint })
    } catch (error) {
      this.#log.error({ err: error }, 'the own certificate has ended, and that of the files cannot be shown')
    }
  }

  /**
   * The hub's way to itself: its own port on this machine under the names of its connection, trusting whoever vouches for the
   * certificate of its files or for the one it shows now.
   */
  #ownCredential(credential: Credential, { HUB_PORT, HUB_TLS_CERT }: Settings): Credential {
    const urls = credential.urls.map((text) => {
      const url = new URL(text)
      url.port = String(HUB_PORT)
      return url.href
    })
    const delivered = () => this.#current?.chain
    return {
      ...credential,
      urls,
      // Asked for each attempt: the certificate may have another authority by then.
      get ca() {
        return [credential.ca, HUB_TLS_CERT, delivered(), ...publicRoots()].filter(Boolean).join('\n')
      },
    }
  }
}

function orderOf(certificate: HubCertificate): PrimaryOrder {
  return { kind: 'present', ...certificate }
}

/** Resolves when a worker says that it shows a certificate, or is gone. */
function shows(child: Child, fingerprint: string): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      child.off('message', hear)
      child.off('exit', done)
      resolve()
    }
    const hear = (report: WorkerReport) => {
      if (report.kind === 'presents' && report.fingerprint === fingerprint) done()
    }
    child.on('message', hear)
    child.on('exit', done)
  })
}

/** Where the hub reaches itself. */
function ownHost(host: string | undefined): string {
  return host === undefined || host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
}

function always(address: string): LookupFunction {
  const family = isIPv6(address) ? 6 : 4
  return (_, options, callback) => {
    if (options.all) callback(null, [{ address, family }])
    else callback(null, address, family)
  }
}

/** What Node trusts by itself, with NODE_EXTRA_CA_CERTS where this Node can tell. */
function publicRoots(): readonly string[] {
  const { getCACertificates } = tls as Partial<typeof tls>
  return getCACertificates?.('default') ?? tls.rootCertificates
}
