import { watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { asCertsError, certsError } from './errors.ts'
import { readWanted, type Wanted } from './wanted.ts'

/** An editor writes a file in several steps: they are one change when they come this close together. */
const settleMs = 100

/** The certificates file on disk. A file that is not valid is told of and changes nothing: the last good one counts. */
export class WantedFile {
  readonly #path: string
  readonly #changed: (wanted: Wanted) => Promise<void>
  #text: string
  #current: Wanted
  #problem: string | undefined
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(path: string, text: string, changed: (wanted: Wanted) => Promise<void>) {
    this.#path = path
    this.#text = text
    this.#current = readWanted(text)
    this.#changed = changed
  }

  /** Reads the file; throws `bad_certificates_file`. `changed` is called with each later content that is valid. */
  static async open(path: string, changed: (wanted: Wanted) => Promise<void>): Promise<WantedFile> {
    return new WantedFile(path, await read(path), changed)
  }

  /** The last content that was valid. */
  get current(): Wanted {
    return this.#current
  }

  /** What is wrong with the content now, while the one before it still counts. */
  get problem(): string | undefined {
    return this.#problem
  }

  /** Reads it again, one reading at a time; rejects with `bad_certificates_file` and keeps what was. */
  reload(): Promise<'same' | 'changed'> {
    const done = this.#turn.then(() => this.#reload())
    this.#turn = done.catch(() => {})
    return done
  }

  /** Reloads on each change in its folder (where the file may be replaced as a whole); `told` gets what came of it. */
  watch(told: (outcome: 'changed' | Error) => void): Disposable {
    let timer: NodeJS.Timeout | undefined
    const load = () =>
      this.reload().then(
        (outcome) => outcome === 'changed' && told(outcome),
        (error: Error) => told(error),
      )
    // Kubernetes and Docker swap a link beside the file: a name that is not the file's own counts too.
    const watcher = watch(dirname(this.#path), (_, name) => {
      if (name !== null && name !== basename(this.#path) && !name.startsWith('..')) return
      clearTimeout(timer)
      timer = setTimeout(load, settleMs)
    })
    watcher.on('error', (error) => told(error))
    return {
      [Symbol.dispose]: () => {
        clearTimeout(timer)
        watcher.close()
      },
    }
  }

  async #reload(): Promise<'same' | 'changed'> {
    try {
      const text = await read(this.#path)
      if (text === this.#text && this.#problem === undefined) return 'same'
      const wanted = readWanted(text)
      await this.#changed(wanted)
      this.#text = text
      this.#current = wanted
      this.#problem = undefined
      return 'changed'
    } catch (error) {
      this.#problem = asCertsError(error).message
      throw error
    }
  }
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw certsError('bad_certificates_file', `CERTS_CONFIG_FILE names ${path}, which cannot be read (${code}).`, {
      cause: error,
    })
  }
}
