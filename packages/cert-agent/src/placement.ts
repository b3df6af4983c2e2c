import type { CertificateReader } from '@damon/client/certificates-node'
import type { Logger } from '@damon/runtime/logger'
import { type Backoff, delay } from '@damon/runtime/retry'
import type { CertificateFolder } from './folder.ts'
import { ReloadError } from './reload.ts'

/** What a placement works with. */
export interface PlacementOptions {
  id: string
  /** What is delivered. */
  reader: Pick<CertificateReader, 'current' | 'on' | 'prove'>
  folder: CertificateFolder
  /** Tells the service that uses the files; MUST be bounded in time. Rejects when it could not. */
  reload: (signal: AbortSignal) => Promise<void>
  /** Where the service can be seen to serve the certificate. */
  servedAt: { host: string; port: number } | undefined
  pause: Backoff
  log: Logger
}

/** Keeps the files of one certificate as they were delivered, and the service that uses them informed. */
export class Placement {
  readonly #options: PlacementOptions
  #wake = Promise.withResolvers<void>()
  #problem: string | undefined = 'no certificate yet'

  constructor(options: PlacementOptions) {
    this.#options = options
  }

  /** What is wrong now, in a few words; nothing when files and service are up to date. */
  get problem(): string | undefined {
    return this.#problem
  }

  /** Runs until the signal is aborted; what fails is tried again, with the newest certificate. */
  async run(signal: AbortSignal): Promise<void> {
    const { id, reader, pause, log } = this.#options
    using _change = reader.on('change', () => this.#wake.resolve())
    signal.addEventListener('abort', () => this.#wake.resolve(), { once: true })
    while (!signal.aborted) {
      this.#wake = Promise.withResolvers()
      try {
        await this.#place(signal)
        pause.reset()
        await this.#wake.promise
      } catch (error) {
        if (signal.aborted) return
        this.#problem = (error as Error).message
        const output = error instanceof ReloadError ? error.output : undefined
        const retryMs = pause.next()
        log.error({ certificate: id, err: error, output, retryMs }, 'the certificate is not in use yet, trying again')
        await Promise.race([delay(retryMs, signal).catch(() => {}), this.#wake.promise])
      }
    }
  }

  async #place(signal: AbortSignal): Promise<void> {
    const { id, reader, folder, reload, log } = this.#options
    const certificate = reader.current
    if (certificate && (await folder.put(certificate))) {
      const { fingerprint, version, notAfter } = certificate
      log.info({ certificate: id, fingerprint, version, notAfter }, 'new files')
    }
    // Also what an earlier life has put there and not told any more.
    if (await folder.needsReload()) {
      await reload(signal)
      await folder.reloaded()
      log.info({ certificate: id }, 'reloaded')
    }
    if (!certificate) return
    this.#problem = undefined
    this.#prove()
  }

  #prove(): void {
    const { id, reader, servedAt, log } = this.#options
    if (!servedAt) return
    reader.prove(servedAt).then(
      () => log.info({ certificate: id, ...servedAt }, 'served'),
      (error) => {
        if (error.code !== 'closed') log.warn({ certificate: id, ...servedAt, err: error }, 'not seen to be served')
      },
    )
  }
}
