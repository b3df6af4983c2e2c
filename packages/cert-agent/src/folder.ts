import { chown, mkdir, open, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { DeliveredCertificate } from '@damon/client/certificates-node'
import type { Owner } from './owner.ts'

const link = 'current'
/** Written beside the files once the command has run for them. */
const mark = 'reloaded'
const staging = '.new-'

/**
 * The files of one certificate. Each version is a folder with `fullchain.pem`, `privkey.pem` and `combined.pem` (key, then
 * chain); the link `current` changes from one to the next in one step. Who opens key and chain separately through the link
 * may meet the change: open `combined.pem`, or resolve the link once.
 */
export class CertificateFolder {
  readonly #path: string
  readonly #mode: number
  readonly #owner: Owner | undefined

  private constructor(path: string, mode: number, owner: Owner | undefined) {
    this.#path = path
    this.#mode = mode
    this.#owner = owner
  }

  /**
   * Makes the folder where it is missing and clears what a crash left half-written. `mode` is that of the files: 0600 or
   * 0640; `owner` whose they are, if not the agent's own: only root may give files away.
   */
  static async open(path: string, mode: number, owner?: Owner): Promise<CertificateFolder> {
    // Who may read the files must be able to get there.
    await mkdir(path, { recursive: true, mode: mode === 0o600 ? 0o700 : 0o750 })
    await give(path, owner)
    for (const name of await readdir(path)) {
      if (name.startsWith(staging)) await rm(join(path, name), { recursive: true })
    }
    return new CertificateFolder(path, mode, owner)
  }

  /** Where the link is. */
  get current(): string {
    return join(this.#path, link)
  }

  /** Whether there is a version for which the command has not run yet. */
  async needsReload(): Promise<boolean> {
    const version = await this.#version()
    return version !== undefined && (await readdir(join(this.#path, version))).includes(mark) === false
  }

  /** Remembers that the command has run for the current version. */
  async reloaded(): Promise<void> {
    await writeDurably(join(this.current, mark), '', 0o600, undefined)
  }

  /** Puts a certificate there, keeps the version before it and removes older ones. The same certificate again changes nothing: false. */
  async put({ key, chain, fingerprint, version }: DeliveredCertificate): Promise<boolean> {
    const before = await this.#version()
    const combined = `${key.trimEnd()}\n${chain.trimEnd()}\n`
    if (
      before !== undefined &&
      (await readFile(join(this.current, 'combined.pem'), 'utf8').catch(() => '')) === combined
    ) {
      return false
    }
    const name = `${version}-${fingerprint.slice(0, 16)}`
    const staged = join(this.#path, `${staging}${name}`)
    await mkdir(staged, { mode: this.#mode === 0o600 ? 0o700 : 0o750 })
    await give(staged, this.#owner)
    await writeDurably(join(staged, 'fullchain.pem'), `${chain.trimEnd()}\n`, this.#mode, this.#owner)
    await writeDurably(join(staged, 'privkey.pem'), `${key.trimEnd()}\n`, this.#mode, this.#owner)
    await writeDurably(join(staged, 'combined.pem'), combined, this.#mode, this.#owner)
    await rm(join(this.#path, name), { recursive: true, force: true })
    await rename(staged, join(this.#path, name))
    await symlink(name, join(this.#path, `${staging}${link}`))
    await rename(join(this.#path, `${staging}${link}`), this.current)
    await syncFolder(this.#path)
    for (const other of await readdir(this.#path)) {
      if (![name, before, link].includes(other)) await rm(join(this.#path, other), { recursive: true })
    }
    return true
  }

  async #version(): Promise<string | undefined> {
    try {
      return await readlink(this.current)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }
}

/** Changes whose a file or folder is, where somebody is named. */
async function give(path: string, owner: Owner | undefined): Promise<void> {
  if (owner) await chown(path, owner.uid, owner.gid)
}

async function writeDurably(path: string, content: string, mode: number, owner: Owner | undefined): Promise<void> {
  const file = await open(path, 'w', mode)
  try {
    // The process may have a umask that takes the group's right away.
    await file.chmod(mode)
    // Before there is anything to read.
    if (owner) await file.chown(owner.uid, owner.gid)
    await file.writeFile(content)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
