import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from './free-port.ts'
import { temporaryFolder } from './temporary-folder.ts'

/** A real redis-server on a loopback port of its own; it ends when disposed. */
export interface RedisServer extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** Of the running process; another one after `restart`. */
  readonly pid: number
  /** Stops the process for that long, and until then, as a machine that hangs: connections stay open, nothing answers. */
  pause(ms: number, until?: Promise<void>): Promise<void>
  /** Ends the process by SIGKILL; connections break. */
  kill(): Promise<void>
  /** Kills it if it still runs, and starts it anew on the same port and folder; `empty`: without what it had written there. */
  restart(options?: { empty?: boolean }): Promise<void>
}

/**
 * Starts redis-server without persistence; `args` are further settings, such as `['--appendonly', 'yes']`. Rejects with its
 * output if it does not start.
 */
export async function startRedis(options: { args?: readonly string[] } = {}): Promise<RedisServer> {
  const folder = await temporaryFolder()
  const launch = (port: number) => launchRedis(port, folder.path, options.args ?? [])
  try {
    let { child, port } = await launchOnFreePort(launch)
    return {
      url: `redis://127.0.0.1:${port}`,
      port,
      get pid() {
        return child.pid!
      },
      async pause(ms, until) {
        child.kill('SIGSTOP')
        await Promise.all([sleep(ms), until])
        child.kill('SIGCONT')
      },
      kill: () => end(child),
      async restart({ empty = false } = {}) {
        await end(child)
        if (empty) await rm(join(folder.path, 'appendonlydir'), { recursive: true, force: true })
        child = await launch(port)
      },
      async [Symbol.asyncDispose]() {
        await end(child)
        await folder[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await folder[Symbol.asyncDispose]()
    throw error
  }
}

async function launchOnFreePort(launch: (port: number) => Promise<ChildProcess>) {
  for (let tries = 1; ; tries++) {
    const port = await freePort()
    try {
      return { port, child: await launch(port) }
    } catch (error) {
      // Somebody else was quicker.
      if (tries === 5 || !/address already in use/i.test(String(error))) throw error
    }
  }
}

function launchRedis(port: number, folder: string, args: readonly string[]): Promise<ChildProcess> {
  const settings = ['--bind', '127.0.0.1', '--port', String(port), '--dir', folder, '--save', '', '--appendonly', 'no']
  const child = spawn('redis-server', [...settings, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const killAtExit = () => child.kill('SIGKILL')
  process.once('exit', killAtExit)
  return new Promise((resolve, reject) => {
    let output = ''
    const onLine = (line: string) => {
      output += `${line}\n`
      if (line.includes('Ready to accept connections')) resolve(child)
    }
    createInterface({ input: child.stdout }).on('line', onLine)
    createInterface({ input: child.stderr }).on('line', onLine)
    child.once('error', (error) => reject(new Error('redis-server cannot be run.', { cause: error })))
    child.once('close', () => {
      process.off('exit', killAtExit)
      reject(new Error(`redis-server ended before it was ready:\n${output}`))
    })
  })
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}
