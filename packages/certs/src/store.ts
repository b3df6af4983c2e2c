import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { chmod, link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isKey } from '@damon/protocol/names'
import { certsError } from './errors.ts'

const magic = Buffer.from('damon-store-1\n')
const nonceLength = 12
const tagLength = 16
const suffix = '.sealed'
/** What another process writes right now is younger. */
const abandonedMs = 10 * 60_000

/**
 * Files that hold keys: encrypted at rest (AES-256-GCM, bound to their name), readable by their owner only, replaced in
 * one step so that a crash leaves either the old or the new content. Names are paths like `certificate/edge/17`.
 */
export class Store {
  readonly #folder: string
  readonly #key: Uint8Array

  private constructor(folder: string, key: Uint8Array) {
    this.#folder = folder
    this.#key = key
  }

  /** Opens a store, makes its folder (0700) and clears what a crash left half-written. `key` are 32 bytes in hex or base64. */
  static async open(folder: string, key: string): Promise<Store> {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await chmod(folder, 0o700)
    for (const file of await readdir(folder, { recursive: true })) {
      if (file.endsWith('.new') && (await isAbandoned(join(folder, file))))
        await rm(join(folder, file), { force: true })
    }
    return new Store(folder, new Uint8Array(hkdfSync('sha256', keyBytes(key)!, '', magic, 32)))
  }

  /** What was written last under a name, nothing if there is none; throws `store_damaged`. */
  async read(name: string): Promise<Uint8Array | undefined> {
    const path = this.#path(name)
    let sealed: Buffer
    try {
      sealed = await readFile(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw certsError('store_damaged', `${name}${suffix} cannot be read.`, { cause: error })
    }
    const [nonceAt, tagAt, textAt] = [magic.length, magic.length + nonceLength, magic.length + nonceLength + tagLength]
    try {
      if (!sealed.subarray(0, nonceAt).equals(magic)) throw new TypeError('not a file of this store')
      const decipher = createDecipheriv('aes-256-gcm', this.#key, sealed.subarray(nonceAt, tagAt), {
        authTagLength: tagLength,
      })
      decipher.setAAD(Buffer.from(name)).setAuthTag(sealed.subarray(tagAt, textAt))
      return Buffer.concat([decipher.update(sealed.subarray(textAt)), decipher.final()])
    } catch (error) {
      throw certsError('store_damaged', `${name}${suffix} cannot be opened.`, { cause: error })
    }
  }

  /** Replaces the content of a name; durable once it resolves. Throws `store_failed`. */
  async write(name: string, content: Uint8Array | string): Promise<void> {
    await this.#put(name, content, rename)
  }

  /** Makes a name that is not there yet, and tells whether it was this call that made it. Throws `store_failed`. */
  async create(name: string, content: Uint8Array | string): Promise<boolean> {
    try {
      await this.#put(name, content, link)
      return true
    } catch (error) {
      if (((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'EEXIST') return false
      throw error
    }
  }

  async #put(
    name: string,
    content: Uint8Array | string,
    place: (from: string, to: string) => Promise<void>,
  ): Promise<void> {
    const path = this.#path(name)
    const nonce = randomBytes(nonceLength)
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce, { authTagLength: tagLength })
    cipher.setAAD(Buffer.from(name))
    const text = Buffer.concat([cipher.update(content), cipher.final()])
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 })
      await placeFile(path, Buffer.concat([magic, nonce, cipher.getAuthTag(), text]), place)
    } catch (error) {
      throw certsError('store_failed', `${name}${suffix} cannot be written.`, { cause: error })
    }
  }

  /** Removes a name; one that is not there is no error. */
  async remove(name: string): Promise<void> {
    await rm(this.#path(name), { force: true })
  }

  /** The last parts of all names directly under a prefix, sorted. */
  async list(prefix: string): Promise<string[]> {
    const files = await readdir(join(this.#folder, prefix)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []
      throw certsError('store_failed', `${prefix} cannot be listed.`, { cause: error })
    })
    return files
      .filter((file) => file.endsWith(suffix))
      .map((file) => file.slice(0, -suffix.length))
      .sort()
  }

  #path(name: string): string {
    if (!isKey(name) || name.split('/').some((part) => part === '.' || part === '..')) {
      throw new TypeError(`${JSON.stringify(name)} is no name in the store`)
    }
    return join(this.#folder, `${name}${suffix}`)
  }
}

/** The 32 bytes of a key written in hex or base64, nothing if it is anything else. */
export function keyBytes(text: string): Uint8Array | undefined {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex')
  const bytes = /^[A-Za-z0-9+/_-]{43}=?$/.test(text) ? Buffer.from(text, 'base64') : undefined
  return bytes?.length === 32 ? bytes : undefined
}

async function placeFile(
  path: string,
  content: Uint8Array,
  place: (from: string, to: string) => Promise<void>,
): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.new`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    await place(temporary, path)
  } finally {
    await rm(temporary, { force: true })
  }
  // Without this the rename itself may be lost by a power cut.
  const folder = await open(dirname(path), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

async function isAbandoned(path: string): Promise<boolean> {
  const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }))
  return Date.now() - mtimeMs > abandonedMs
}
