import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { damonError } from '@damon/protocol/errors'
import type { Credential } from '@damon/trust/credential'
import type { OpenedCertificate } from '@damon/trust/envelope'
import * as z from 'zod/mini'

const magic = 'damon-cert-cache-1\n'
const nonceLength = 12
const tagLength = 16
const suffix = '.sealed'

const contents = z.object({ key: z.string(), chain: z.string(), fingerprint: z.string(), version: z.number() })

/**
 * The last certificate of an id, kept on disk so that a process can start while hub or certs are down: a file for its owner
 * alone (0600), encrypted under the identity key of the credential (AES-256-GCM, bound to audience and id), so that a copy
 * of the folder without the connection file holds no key.
 */
export class CertificateCache {
  readonly #folder: string
  readonly #path: string
  readonly #key: Uint8Array
  readonly #bound: Uint8Array

  /** Throws `bad_credential` when there is no identity key to seal with. */
  constructor(folder: string, id: string, { identity, aud }: Credential) {
    if (!identity) throw damonError('bad_credential', 'identity: the cache is sealed with it.')
    this.#folder = folder
    this.#path = join(folder, `${id}${suffix}`)
    this.#key = new Uint8Array(hkdfSync('sha256', Buffer.from(identity.d, 'base64url'), '', magic, 32))
    this.#bound = Buffer.from(`${aud}\n${id}`)
  }

  /**
   * What was kept last; nothing when there is no file. Pair, chain, names and dates remain to be checked. Throws
   * `bad_envelope` for a file that others may read or that does not open.
   */
  async load(): Promise<OpenedCertificate | undefined> {
    let sealed: Buffer
    try {
      const { mode } = await stat(this.#path)
      if ((mode & 0o077) !== 0)
        throw damonError('bad_envelope', `Others than its owner may use ${this.#path}: it is not read.`)
      sealed = await readFile(this.#path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
    const [tagAt, textAt] = [magic.length + nonceLength, magic.length + nonceLength + tagLength]
    try {
      if (sealed.toString('latin1', 0, magic.length) !== magic) throw new TypeError('not a file of this cache')
      const decipher = createDecipheriv('aes-256-gcm', this.#key, sealed.subarray(magic.length, tagAt), {
        authTagLength: tagLength,
      })
      decipher.setAAD(this.#bound).setAuthTag(sealed.subarray(tagAt, textAt))
      const text = Buffer.concat([decipher.update(sealed.subarray(textAt)), decipher.final()])
      return contents.parse(JSON.parse(text.toString()))
    } catch (cause) {
      throw damonError('bad_envelope', `${this.#path} does not open: it is damaged, or of another identity.`, { cause })
    }
  }

  /** Keeps a certificate in place of the one before, whole or not at all. */
  async store({ key, chain, fingerprint, version }: OpenedCertificate): Promise<void> {
    const nonce = randomBytes(nonceLength)
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce, { authTagLength: tagLength }).setAAD(this.#bound)
    const text = JSON.stringify({ key, chain, fingerprint, version })
    const sealed = Buffer.concat([cipher.update(text), cipher.final()])
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
    const draft = `${this.#path}.${randomBytes(6).toString('hex')}`
    try {
      const file = await open(draft, 'wx', 0o600)
      try {
        await file.writeFile(Buffer.concat([Buffer.from(magic), nonce, cipher.getAuthTag(), sealed]))
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(draft, this.#path)
    } catch (error) {
      await rm(draft, { force: true })
      throw error
    }
  }
}
