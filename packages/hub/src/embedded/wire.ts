import type { Socket } from 'node:net'
import { deserialize, serialize } from 'node:v8'
import type { Batch, Member } from '../bus.ts'
import type { Put, RecordChange, SessionEntry, StoredRecord, Written } from '../store.ts'

/** What a worker may ask of the primary: arguments and result. */
export interface Calls {
  append: { args: [batches: Batch[], freeze: string[]]; result: Member[][] }
  subscribe: { args: [channel: string]; result: undefined }
  unsubscribe: { args: [channel: string]; result: undefined }
  openSession: { args: [entry: SessionEntry]; result: number }
  join: { args: [session: string, channel: string]; result: number }
  leave: { args: [session: string, channel: string]; result: undefined }
  endSession: { args: [session: string, how: 'left' | 'lost']; result: undefined }
  pick: { args: [channel: string]; result: Member | undefined }
  absent: { args: [sessions: string[]]; result: string[] }
  put: { args: [put: Put]; result: Written }
  patch: { args: [owner: string, key: string, value: Buffer]; result: Written }
  drop: {
    args: [drop: { owner: string; subject: string; key: string; reason: string; expect?: number | undefined }]
    result: Written
  }
  snapshot: { args: []; result: { revision: number; records: StoredRecord[] } }
  renew: { args: []; result: boolean }
  sweep: { args: []; result: undefined }
}

export type CallName = keyof Calls

/** Messages on the Unix socket between a worker and its primary. */
export type PrimaryMessage =
  | { kind: 'admitted'; origin: number; epoch: string }
  | { kind: 'result'; id: number; value?: unknown; error?: string }
  | { kind: 'batch'; batch: Batch; stamp: number }
  | { kind: 'change'; change: RecordChange }
  | { kind: 'gone'; sessions: string[] }
  | { kind: 'ended'; origin: number }
export type WorkerMessage = { kind: 'call'; id: number; name: CallName; args: unknown[] }

/** What may wait in a socket between a worker and its primary before its other end counts as dead, bytes. */
export const lineBytes = 64 * 1024 * 1024

/** Sends values over a stream socket: u32 length, then the structured clone of the value. */
export function send(socket: Socket, message: PrimaryMessage | WorkerMessage): void {
  const body = serialize(message)
  const head = Buffer.allocUnsafe(4)
  head.writeUInt32BE(body.length)
  socket.cork()
  socket.write(head)
  socket.write(body)
  process.nextTick(uncork, socket)
}

function uncork(socket: Socket): void {
  socket.uncork()
}

/** Calls `take` for every value that arrives. */
export function receive<T>(socket: Socket, take: (message: T) => void): void {
  let chunks: Buffer[] = []
  let have = 0
  let want = 4
  let inBody = false
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    have += chunk.length
    while (have >= want) {
      const all = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, have)
      const part = all.subarray(0, want)
      const rest = all.subarray(want)
      chunks = rest.length > 0 ? [rest] : []
      have = rest.length
      if (inBody) {
        inBody = false
        want = 4
        take(revive(deserialize(part)) as T)
      } else {
        inBody = true
        want = part.readUInt32BE(0)
      }
    }
  })
}

// The structured clone gives plain byte arrays back; the rest of the hub speaks Buffer.
function revive(value: unknown): unknown {
  if (value instanceof Uint8Array && !Buffer.isBuffer(value))
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) value[i] = revive(value[i])
    return value
  }
  if (typeof value === 'object' && value !== null && !Buffer.isBuffer(value)) {
    const object = value as Record<string, unknown>
    for (const key of Object.keys(object)) object[key] = revive(object[key])
  }
  return value
}
