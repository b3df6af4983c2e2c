import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** Between SIGTERM and SIGKILL for a command that takes too long, ms. */
const graceMs = 2_000
const outputLength = 2_000

/** A command failed; `output` is the end of what it printed. */
export class ReloadError extends Error {
  override readonly name = 'ReloadError'
  readonly output: string

  constructor(message: string, output: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.output = output
  }
}

/**
 * Program and arguments of a command: a JSON array of strings as it is, anything else split at white space. There is no
 * shell and no quoting; who needs them names `["sh", "-c", "…"]`. Empty when it is neither.
 */
export function parseCommand(text: string): string[] {
  if (!text.trimStart().startsWith('[')) return text.split(/\s+/).filter((word) => word !== '')
  try {
    const words: unknown = JSON.parse(text)
    return Array.isArray(words) && words.every((word) => typeof word === 'string') ? words : []
  } catch {
    return []
  }
}

/**
 * Runs a command to its end with these variables, PATH and HOME only, so that no secret of ours reaches it. When it takes
 * longer than `timeoutMs` or the signal is aborted, it and its children are ended. Throws a ReloadError unless it exits with 0.
 */
export async function runCommand(
  command: readonly string[],
  options: { env: Record<string, string>; timeoutMs: number; signal: AbortSignal },
): Promise<void> {
  const [program = '', ...args] = command
  const { PATH = '', HOME = '' } = process.env
  // A group of its own, so that what it started ends with it.
  const child = spawn(program, args, {
    env: { PATH, HOME, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let output = ''
  const gather = (chunk: string) => {
    output = (output + chunk).slice(-outputLength)
  }
  child.stdout.setEncoding('utf8').on('data', gather)
  child.stderr.setEncoding('utf8').on('data', gather)
  const kill = (name: NodeJS.Signals) => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, name)
    } catch {
      // It ended meanwhile.
    }
  }
  let stopped: string | undefined
  let last: ReturnType<typeof setTimeout> | undefined
  const stop = (why: string) => {
    stopped ??= why
    kill('SIGTERM')
    last = setTimeout(() => kill('SIGKILL'), graceMs)
  }
  const timer = setTimeout(() => stop(`was not done within ${options.timeoutMs} ms`), options.timeoutMs)
  const abort = () => stop('was given up')
  options.signal.addEventListener('abort', abort, { once: true })
  if (options.signal.aborted) abort()
  try {
    const [code, signal] = await once(child, 'exit')
    if (stopped) throw new ReloadError(`${program} ${stopped}`, output)
    if (code !== 0) throw new ReloadError(`${program} ended with ${code ?? signal}`, output)
  } catch (error) {
    if (error instanceof ReloadError) throw error
    throw new ReloadError(`${program} cannot be run`, output, error)
  } finally {
    clearTimeout(timer)
    clearTimeout(last)
    if (stopped) kill('SIGKILL')
    options.signal.removeEventListener('abort', abort)
    // What it left in the background may hold the pipes open; they are not waited for.
    child.stdout.destroy()
    child.stderr.destroy()
  }
}
