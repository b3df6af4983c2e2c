import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Logger } from '@damon/runtime/logger'
import type { StoreTimes } from '../store.ts'
import { EmbeddedHost } from './host.ts'
import type { Kept } from './kept.ts'

export interface EmbeddedServer extends AsyncDisposable {
  /** Path of the Unix socket that workers connect to. */
  readonly path: string
  /** What the logs of all workers hold, bytes. */
  readonly logBytes: number
  /** The worker's process is gone. */
  endWorker(origin: number): void
}

/** Serves the embedded state to this machine's workers, over a Unix socket in a folder of its own (0700). */
export async function serveEmbedded(options: { kept: Kept; times: StoreTimes; log: Logger }): Promise<EmbeddedServer> {
  const folder = await mkdtemp(join(tmpdir(), 'damon-hub-'))
  const path = join(folder, 'bus.sock')
  const host = new EmbeddedHost(options)
  const server = createServer((socket) => host.take(socket))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  return {
    path,
    get logBytes() {
      return host.logBytes
    },
    endWorker: (origin) => host.endWorker(origin),
    async [Symbol.asyncDispose]() {
      host[Symbol.dispose]()
      await new Promise((resolve) => server.close(resolve))
      await rm(folder, { recursive: true, force: true })
    },
  }
}
