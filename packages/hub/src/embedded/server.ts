import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Logger } from '@damon/runtime/logger'
import type { StoreTimes } from '../store.ts'
import type { Kept } from './kept.ts'
import { EmbeddedState } from './state.ts'
import { lineBytes, type PrimaryMessage, receive, send, sendBatch, type WorkerMessage } from './wire.ts'

export interface EmbeddedServer extends AsyncDisposable {
  /** Path of the Unix socket that workers connect to. */
  readonly path: string
  /** The worker's process is gone. */
  endWorker(origin: number): void
}

/** How often leases and graces are looked at, ms. */
const sweepMs = 250

/**
 * Serves the embedded state to this machine's workers, over a Unix socket in a folder of its own (0700). A worker that
 * does not read is cut off.
 */
export async function serveEmbedded(options: { kept: Kept; times: StoreTimes; log: Logger }): Promise<EmbeddedServer> {
  const { kept, times, log } = options
  const folder = await mkdtemp(join(tmpdir(), 'damon-hub-'))
  const path = join(folder, 'bus.sock')
  const epoch = randomBytes(8).toString('hex')
  const sockets = new Map<number, Socket>()
  const lineTo = (to: number): Socket | undefined => {
    const socket = sockets.get(to)
    if (!socket || socket.destroyed) return undefined
    if (socket.writableLength <= lineBytes) return socket
    log.error({ origin: to, bytes: socket.writableLength }, 'a worker does not read and is cut off')
    socket.destroy()
    return undefined
  }
  const tell = (to: number, message: PrimaryMessage) => {
    const socket = lineTo(to)
    if (socket) send(socket, message)
  }
  const state = new EmbeddedState({
    kept,
    times,
    now: () => performance.now(),
    unreserved: (error) => log.error({ err: error }, 'the disk does not take what must be known after a restart'),
    audience: {
      batch: (to, batch, stamp) => {
        const socket = lineTo(to)
        if (socket) sendBatch(socket, batch, stamp)
      },
      change: (to, change) => tell(to, { kind: 'change', change }),
      gone: (to, sessions) => tell(to, { kind: 'gone', sessions }),
      over: (to, sessions) => tell(to, { kind: 'over', sessions }),
      release: (to, session) => tell(to, { kind: 'release', session }),
      ended: (to, origin) => tell(to, { kind: 'ended', origin }),
    },
  })

  const answer = (origin: number, { name, args }: WorkerMessage): unknown => {
    if (name === 'renew') return state.renew(origin)
    if (!state.has(origin)) throw new Error('fenced')
    switch (name) {
      case 'subscribe':
      case 'unsubscribe':
      case 'forget':
      case 'openSession':
      case 'release':
      case 'takeOver':
        return (state[name] as (...args: unknown[]) => unknown)(origin, ...args)
      case 'fence':
        return state.endWorker(args[0] as number)
      default:
        return (state[name] as (...args: unknown[]) => unknown)(...args)
    }
  }

  const admit = (socket: Socket): number | undefined => {
    try {
      return state.admit()
    } catch (error) {
      log.error({ err: error }, 'a worker cannot be admitted')
      socket.destroy()
      return undefined
    }
  }

  const server = createServer((socket) => {
    socket.on('error', (error) => log.warn({ err: error }, 'the line to a worker broke'))
    const origin = admit(socket)
    if (origin === undefined) return
    sockets.set(origin, socket)
    tell(origin, { kind: 'admitted', origin, epoch })
    const reply = (id: number, call: string, work: () => unknown) => {
      try {
        tell(origin, { kind: 'result', id, value: work() })
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error)
        if (text !== 'fenced') log.error({ err: error, call }, 'a call of a worker failed')
        tell(origin, { kind: 'result', id, error: text })
      }
    }
    receive<WorkerMessage>(socket, {
      value: (message) => reply(message.id, message.name, () => answer(origin, message)),
      append: (id, batches, freeze) =>
        reply(id, 'append', () => {
          if (!state.has(origin)) throw new Error('fenced')
          return state.append(origin, batches, freeze)
        }),
    })
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
