import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

/** A program that runs as a process of its own; it ends when disposed: SIGTERM, after 10 s SIGKILL. */
export interface RunningProgram extends AsyncDisposable {
  readonly pid: number
  /** Every line so far, of both outputs. */
  readonly output: string
  /** Settles when the process is gone and its last line was read. */
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  signal(name: NodeJS.Signals): void
  /** Resolves as soon as a line of the output has contained the text; rejects with the output if it ends before. */
  says(text: string): Promise<void>
}

/** A service that is ready. */
export interface RunningService extends RunningProgram {
  /** What the service told when it was ready: its name, the URL of its metrics, its addresses. */
  readonly ready: Readonly<Record<string, string>>
}

const closeMs = 10_000

/**
 * Starts a script with PATH, HOME, NODE_COMPILE_CACHE and the given variables only, and waits for its ready message. Rejects
 * with what it printed if it ends before.
 */
export async function startService(
  script: string,
  env: Readonly<Record<string, string>>,
  args: readonly string[] = [],
): Promise<RunningService> {
  const { child, program, endedBefore } = start([script, ...args], env)
  const ready = await Promise.race([readyMessage(child), endedBefore('it was ready')])
  return Object.defineProperties({ ready }, Object.getOwnPropertyDescriptors(program)) as RunningService
}

/** Starts a script likewise, without waiting for anything. */
export function startProgram(
  script: string,
  env: Readonly<Record<string, string>>,
  args: readonly string[] = [],
): RunningProgram {
  return start([script, ...args], env).program
}

function start(command: readonly string[], env: Readonly<Record<string, string>>) {
  const { PATH = '', HOME = '', NODE_COMPILE_CACHE = '' } = process.env
  const child = spawn(process.execPath, command, {
    env: { PATH, HOME, ...(NODE_COMPILE_CACHE && { NODE_COMPILE_CACHE }), ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  let output = ''
  const listeners = new Set<() => void>()
  const onLine = (line: string) => {
    output += `${line}\n`
    for (const listener of listeners) listener()
  }
  // Not 'close' of the child: it never comes once this side has disconnected.
  const ends = [child.stdout!, child.stderr!].map((input) => {
    const lines = createInterface({ input })
    lines.on('line', onLine)
    return once(lines, 'close')
  })
  const exited = Promise.all([once(child, 'exit'), ...ends]).then(([[code, signal]]) => {
    process.off('exit', kill)
    return { code: code as number | null, signal: signal as NodeJS.Signals | null }
  })
  const endedBefore = (what: string) =>
    exited.then(({ code, signal }) => {
      throw new Error(`${command.join(' ')} ended (${code ?? signal}) before ${what}:\n${output}`)
    })
  const program: RunningProgram = {
    pid: child.pid!,
    get output() {
      return output
    },
    exited,
    signal: (name) => void child.kill(name),
    async says(text) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const listener = () => {
        if (output.includes(text)) resolve()
      }
      listeners.add(listener)
      listener()
      await Promise.race([promise, endedBefore(`it said "${text}"`)]).finally(() => listeners.delete(listener))
    },
    async [Symbol.asyncDispose]() {
      const timer = setTimeout(kill, closeMs)
      child.kill('SIGTERM')
      await exited
      clearTimeout(timer)
    },
  }
  return { child, program, endedBefore }
}

function readyMessage(child: NodeJS.EventEmitter): Promise<Record<string, string>> {
  return new Promise((resolve) => {
    child.on('message', (message: { ready?: Record<string, string> }) => {
      if (message.ready) resolve(message.ready)
    })
  })
}
