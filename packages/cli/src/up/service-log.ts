import { createWriteStream, type WriteStream } from 'node:fs'
import { mkdir, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { errno } from '../files.ts'
import { printable } from '../table.ts'

/** What is shown of a service's log line. */
interface Problem {
  level: string
  text: string
}

const problemLevels: readonly unknown[] = ['warn', 'error', 'fatal']

/** One service's output: all of it in a file (0600, the last run's beside it), warnings and worse as one line each on the terminal. */
export class ServiceLog implements AsyncDisposable {
  readonly #name: string
  readonly #file: WriteStream
  readonly #tell: (line: string) => void
  readonly #problems: string[] = []

  private constructor(name: string, file: WriteStream, tell: (line: string) => void) {
    this.#name = name
    this.#file = file
    this.#tell = tell
    file.on('error', (error) => tell(`${name}: its log cannot be written: ${error.message}`))
  }

  static async open(name: string, path: string, tell: (line: string) => void): Promise<ServiceLog> {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await rename(path, `${path}.1`).catch((error) => {
      if (errno(error) !== 'ENOENT') throw error
    })
    return new ServiceLog(name, createWriteStream(path, { flags: 'wx', mode: 0o600 }), tell)
  }

  /** The last problems, for the error of a service that did not start. */
  get problems(): readonly string[] {
    return this.#problems
  }

  /** Reads an output to its end. */
  async follow(output: Readable): Promise<void> {
    for await (const line of createInterface({ input: output })) {
      if (!this.#file.destroyed) this.#file.write(`${line}\n`)
      const problem = problemOf(line)
      if (!problem) continue
      this.#problems.push(problem.text)
      if (this.#problems.length > 5) this.#problems.shift()
      this.#tell(`${this.#name.padEnd(8)} ${problem.level.padEnd(5)} ${problem.text}`)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#file.destroyed) return
    this.#file.end()
    await finished(this.#file).catch(() => {})
  }
}

/** What a line says if it is a warning or worse; a line that is no log entry was meant for a person. */
export function problemOf(line: string): Problem | undefined {
  if (line.trim() === '') return undefined
  let entry: { level?: unknown; msg?: unknown; err?: { message?: unknown; code?: unknown } }
  try {
    entry = JSON.parse(line)
  } catch {
    return { level: '', text: printable(line) }
  }
  if (typeof entry !== 'object' || entry === null || !problemLevels.includes(entry.level)) return undefined
  const cause = entry.err?.message === undefined ? [] : [printable(entry.err.message)]
  const code = entry.err?.code === undefined ? '' : ` [${printable(entry.err.code)}]`
  return { level: String(entry.level), text: [printable(entry.msg), ...cause].join(': ') + code }
}
