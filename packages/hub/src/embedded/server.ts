import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Logger } from '@damon/runtime/logger'
import type { Kept } from './kept.ts'
import { EmbeddedState } from './state.ts'
import { receive, send, type WorkerMessage } from './wire.ts'

export interface EmbeddedServer extends AsyncDisposable {
  /** Path of the Unix socket that workers connect to. */
  readonly path: string
  /** The worker's process is gone. */
  endWorker(origin: number): void
}

/** How often leases and graces are looked at, ms. */
const sweepMs = 250

/** Serves the embedded state to this machine's workers, over a Unix socket in a folder of its own (0700). */
export async function serveEmbedded(options: { kept: Kept; graceMs: number; log: Logger }): Promise<EmbeddedServer> {
  const { kept, graceMs, log } = options
  const folder = await mkdtemp(join(tmpdir(), 'damon-hub-'))
  const path = join(folder, 'bus.sock')
  const epoch = randomBytes(8).toString('hex')
  const sockets = new Map<number, Socket>()
  const tell = (to: number, message: Parameters<typeof send>[1]) => {
    const socket = sockets.get(to)
    if (socket) send(socket, message)
  }
  const state = new EmbeddedState({
    kept,
    graceMs,
    now: () => performance.now(),
    audience: {
      batch: (to, batch, stamp) => tell(to, { kind: 'batch', batch, stamp }),
      change: (to, change) => tell(to, { kind: 'change', change }),
      gone: (to, sessions) => tell(to, { kind: 'gone', sessions }),
    },
  })

  const answer = (origin: number, { name, args }: WorkerMessage): unknown => {
    if (name === 'renew') return state.renew(origin)
    if (!state.has(origin)) throw new Error('fenced')
    switch (name) {
      case 'subscribe':
        return state.subscribe(origin, args[0] as string)
      case 'unsubscribe':
        return state.unsubscribe(origin, args[0] as string)
      case 'openSession':
        return state.openSession(origin, args[0] as never)
      default:
        return (state[name] as (...args: unknown[]) => unknown)(...args)
    }
  }

  const server = createServer((socket) => {
    const origin = state.admit()
    sockets.set(origin, socket)
    send(socket, { kind: 'admitted', origin, epoch })
    receive<WorkerMessage>(socket, (message) => {
      try {
        send(socket, { kind: 'result', id: message.id, value: answer(origin, message) })
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error)
        if (text !== 'fenced') log.error({ err: error, call: message.name }, 'a call of a worker failed')
        send(socket, { kind: 'result', id: message.id, error: text })
      }
    })
    socket.on('error', (error) => log.warn({ err: error, origin }, 'the line to a worker broke'))
    socket.on('close', () => {
      sockets.delete(origin)
      state.endWorker(origin)
    })
  })
  const timer = setInterval(() => state.sweep(), sweepMs)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  return {
    path,
    endWorker: (origin) => state.endWorker(origin),
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      for (const socket of sockets.values()) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
      kept[Symbol.dispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
