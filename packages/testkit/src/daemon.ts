import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'

/** A foreign program that runs in the background until it is disposed. */
export interface Daemon extends AsyncDisposable {
  readonly pid: number
  /** Its last million characters on both outputs. */
  output(): string
}

/** What `startDaemon` needs to know of a program that tells nobody when it is ready. */
export interface DaemonOptions {
  command: string
  args: readonly string[]
  env?: Record<string, string>
  /** Asked every 20 ms until it says yes; to reject counts as no. */
  isReady: () => Promise<boolean>
}

const startMs = 15_000

/** Starts a program and waits until it is ready; rejects with its output if it ends before, or is not ready within 15 s. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  let output = ''
  const child = spawn(options.command, options.args, {
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const gather = (chunk: string) => {
    output = (output + chunk).slice(-1_000_000)
  }
  child.stdout.setEncoding('utf8').on('data', gather)
  child.stderr.setEncoding('utf8').on('data', gather)
  const killAtExit = () => child.kill('SIGKILL')
  process.once('exit', killAtExit)
  let failure: Error | undefined
  child.once('error', (error) => {
    failure = new Error(`${options.command} cannot be started.`, { cause: error })
  })
  child.once('exit', (code, signal) => {
    process.off('exit', killAtExit)
    failure ??= new Error(`${options.command} ended (${code ?? signal}):\n${output}`)
  })
  const deadline = Date.now() + startMs
  while (!(await options.isReady().catch(() => false))) {
    if (failure) throw failure
    if (Date.now() > deadline) {
      await stop(child)
      throw new Error(`${options.command} was not ready within ${startMs} ms:\n${output}`)
    }
    await sleep(20)
  }
  // Another process that took the port would have answered too.
  if (failure) throw failure
  return {
    pid: child.pid!,
    output: () => output,
    [Symbol.asyncDispose]: () => stop(child),
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}
