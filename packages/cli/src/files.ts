import { randomBytes } from 'node:crypto'
import { chmod, link, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { CliError } from './cli-error.ts'

/** Makes a folder that only its owner may enter. Throws `too_open` if it is there and others may. */
export async function privateFolder(path: string): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode: 0o700 })
  // The process's umask may only take rights away, so what was made needs no second look.
  if (made === undefined) await checkMode(path, '700')
}

/** Writes a new file, mode 0600, whole or not at all. Throws `exists` rather than overwrite one. */
export async function createFile(path: string, text: string): Promise<void> {
  const draft = await writeDraft(path, text)
  try {
    await link(draft, path)
  } catch (error) {
    if (errno(error) !== 'EEXIST') throw error
    throw new CliError('exists', `${path} exists and is never overwritten. Move it away, or name another file.`)
  } finally {
    await rm(draft)
  }
}

/** Writes a file, mode 0600, in place of what was there, whole or not at all. */
export async function replaceFile(path: string, text: string): Promise<void> {
  await rename(await writeDraft(path, text), path)
}

/** Reads a file with a secret in it; undefined if there is none. Throws `too_open` if others may read it, or `unreadable`. */
export async function readPrivate(path: string): Promise<string | undefined> {
  const text = await readText(path)
  if (text !== undefined) await checkMode(path, '600')
  return text
}

/** Reads a file; undefined if there is none. Throws `unreadable`. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errno(error) === 'ENOENT') return undefined
    throw new CliError('unreadable', `${path} cannot be read (${errno(error)}).`, { cause: error })
  }
}

/** The code of a system error, such as ENOENT. */
export function errno(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code
}

async function writeDraft(path: string, text: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  await writeFile(draft, text, { flag: 'wx', mode: 0o600 })
  await chmod(draft, 0o600)
  return draft
}

async function checkMode(path: string, mode: '600' | '700'): Promise<void> {
  const { mode: actual } = await stat(path)
  if ((actual & 0o077) === 0) return
  throw new CliError('too_open', `Others than its owner may use ${path}. Run \`chmod ${mode} ${path}\`.`)
}
