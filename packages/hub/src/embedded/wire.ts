import type { Duplex } from 'node:stream'
import { deserialize, serialize } from 'node:v8'
import type { Position } from '@damon/protocol/frames'
import { encodedLength, writeBatch } from '../batch.ts'
import type { Asked, Batch, Member, Range } from '../bus.ts'
import type {
  Joined,
  OpenRequest,
  Picking,
  Put,
  RecordChange,
  RecordValue,
  SessionEntry,
  Settled,
  StoredRecord,
  Taken,
  Written,
} from '../store.ts'

/** What a worker may ask of the primary: arguments and result. */
export interface Calls {
  subscribe: { args: [channel: string]; result: undefined }
  unsubscribe: { args: [channel: string]; result: undefined }
  forget: { args: [channels: string[]]; result: undefined }
  read: {
    args: [ranges: Range[], bytes: number]
    /** `bytes` as `encodeBatch` made them; `rest` is to be read by another call. */
    result: { batches: { batch: SealedBatch; stamp: number }[]; missing: Range[]; rest: Range[] }
  }
  heads: { args: [channels: string[]]; result: Position[] }
  openSession: { args: [entry: SessionEntry]; result: Joined }
  join: { args: [session: string, channel: string]; result: Joined }
  leave: { args: [session: string, channel: string]; result: undefined }
  endSession: { args: [session: string, how: 'left' | 'lost']; result: undefined }
  release: { args: [session: string, done: number]; result: undefined }
  takeOver: { args: [entry: SessionEntry]; result: Taken }
  fence: { args: [origin: number]; result: undefined }
  pick: { args: [channel: string]; result: Member | undefined }
  pickFor: { args: [request: Picking, channel: string, except: string[]]; result: Member | undefined }
  requests: { args: [session: string]; result: OpenRequest[] }
  settled: { args: [requests: Settled[]]; result: undefined }
  absent: { args: [sessions: string[]]; result: string[] }
  put: { args: [put: Put]; result: Written }
  patch: { args: [owner: string, key: string, value: RecordValue]; result: Written }
  drop: {
    args: [drop: { owner: string; subject: string; key: string; reason: string; expect?: number | undefined }]
    result: Written
  }
  revision: { args: []; result: number }
  snapshot: { args: []; result: { revision: number; records: StoredRecord[] } }
  renew: { args: []; result: boolean }
  sweep: { args: []; result: undefined }
}

export type CallName = keyof Calls

/** Messages on the Unix socket between a worker and its primary, but for batches. */
export type PrimaryMessage =
  | { kind: 'admitted'; origin: number; epoch: string }
  | { kind: 'result'; id: number; value?: unknown; error?: string }
  | { kind: 'change'; change: RecordChange }
  | { kind: 'gone' | 'over'; sessions: string[] }
  | { kind: 'release'; session: string }
  | { kind: 'ended'; origin: number }
export type WorkerMessage = { kind: 'call'; id: number; name: CallName; args: unknown[] }

/** What may wait in a socket between a worker and its primary before its other end counts as dead, bytes. */
export const lineBytes = 64 * 1024 * 1024

/** A batch as the primary sees it: for whom it is, and bytes. */
export interface SealedBatch {
  channel: string
  /** As `encodeBatch` made it. */
  bytes: Buffer
}

/** One that a worker appends. */
export interface NewBatch extends SealedBatch {
  /** Its origin has delivered it to its own members already. */
  fast: boolean
}

/** The numbers of a batch: of the one before it on its channel, its own first and last. */
export function spanOf(bytes: Buffer): { prev: number; first: number; last: number } {
  return { prev: bytes.readUIntBE(4, 6), first: bytes.readUIntBE(10, 6), last: lastOf(bytes) }
}

/** The last number of a batch. */
export function lastOf(bytes: Buffer): number {
  return bytes.readUIntBE(16, 6)
}

// Every message: length u32 of what follows, kind u8. Batches go as they are, what was read of them as a structured clone, all else as JSON.
//   append   id u32, count u16, freezes u16; per batch: channel u8, fast u8, length u32, channel, bytes; per freeze: channel u8, channel;
//            what is asked as JSON, if anything is
//   appended id u32
//   batch    stamp u48, channel u8, channel, bytes
const kinds = { value: 0, append: 1, batch: 2, appended: 3, clone: 4 } as const

/** What arrives, by kind. */
export interface Inbox<T> {
  value(message: T): void
  append?(id: number, batches: NewBatch[], freeze: string[], asked: Asked[]): void
  appended?(id: number): void
  batch?(channel: string, bytes: Buffer, stamp: number): void
}

/** Where a message has what its kind says. */
const bodyAt = 5

/** What is sent in one turn goes in one write. */
function write(socket: Duplex, bytes: Buffer): void {
  if (socket.writableCorked === 0) {
    socket.cork()
    process.nextTick(() => socket.uncork())
  }
  socket.write(bytes)
}

/** A message with room for that many bytes behind its kind. */
function message(kind: number, length: number): Buffer {
  const out = Buffer.allocUnsafe(bodyAt + length)
  out.writeUInt32BE(1 + length)
  out[4] = kind
  return out
}

/** Sends a value, which MUST be one that JSON can say. */
export function send(socket: Duplex, value: PrimaryMessage | WorkerMessage): void {
  const text = JSON.stringify(value)
  const out = message(kinds.value, Buffer.byteLength(text))
  out.write(text, bodyAt)
  write(socket, out)
}

/** Sends a value with bytes in it: the structured clone costs four times as much. */
export function sendClone(socket: Duplex, value: PrimaryMessage): void {
  const bytes = serialize(value)
  const out = message(kinds.clone, bytes.length)
  out.set(bytes, bodyAt)
  write(socket, out)
}

/** Sends what a worker appends. */
export function sendAppend(socket: Duplex, id: number, batches: Batch[], freeze: string[], asked: Asked[]): void {
  const requests = asked.length > 0 ? Buffer.from(JSON.stringify(asked)) : undefined
  let length = 8 + (requests?.length ?? 0)
  for (const batch of batches) length += 6 + batch.channel.length + encodedLength(batch)
  for (const channel of freeze) length += 1 + channel.length
  const out = message(kinds.append, length)
  out.writeUInt32BE(id, bodyAt)
  out.writeUInt16BE(batches.length, bodyAt + 4)
  out.writeUInt16BE(freeze.length, bodyAt + 6)
  let at = bodyAt + 8
  for (const batch of batches) {
    out[at] = batch.channel.length
    out[at + 1] = batch.fast ? 1 : 0
    out.writeUInt32BE(encodedLength(batch), at + 2)
    at += 6 + out.write(batch.channel, at + 6, 'latin1')
    at = writeBatch(out, at, batch)
  }
  for (const channel of freeze) {
    out[at] = channel.length
    at += 1 + out.write(channel, at + 1, 'latin1')
  }
  if (requests) out.set(requests, at)
  write(socket, out)
}

/** Tells a worker that its append is in the log, with the members that it asked for. */
export function sendAppended(socket: Duplex, id: number, frozen: Member[][]): void {
  if (frozen.length > 0) {
    send(socket, { kind: 'result', id, value: frozen })
    return
  }
  const out = message(kinds.appended, 4)
  out.writeUInt32BE(id, bodyAt)
  write(socket, out)
}

/** Sends a batch to a worker that subscribed its channel. */
export function sendBatch(socket: Duplex, { channel, bytes }: SealedBatch, stamp: number): void {
  const out = message(kinds.batch, 7 + channel.length + bytes.length)
  out.writeUIntBE(stamp, bodyAt, 6)
  out[bodyAt + 6] = channel.length
  out.set(bytes, bodyAt + 7 + out.write(channel, bodyAt + 7, 'latin1'))
  write(socket, out)
}

/** Takes messages off a socket. */
export function receive<T>(socket: Duplex, inbox: Inbox<T>): void {
  let rest: Buffer[] = []
  let have = 0
  let want = 4
  socket.on('data', (chunk: Buffer) => {
    rest.push(chunk)
    have += chunk.length
    if (have < want) return
    const all = rest.length === 1 ? chunk : Buffer.concat(rest, have)
    let at = 0
    for (;;) {
      if (all.length - at < 4) {
        want = 4
        break
      }
      const end = at + 4 + all.readUInt32BE(at)
      if (end > all.length) {
        want = end - at
        break
      }
      open(all.subarray(at + 4, end), inbox)
      at = end
    }
    rest = at < all.length ? [all.subarray(at)] : []
    have = all.length - at
  })
}

function open<T>(message: Buffer, inbox: Inbox<T>): void {
  const kind = message[0]
  if (kind === kinds.value) inbox.value(JSON.parse(message.toString('utf8', 1)) as T)
  else if (kind === kinds.clone) inbox.value(deserialize(message.subarray(1)) as T)
  else if (kind === kinds.batch) {
    const end = 8 + message.readUInt8(7)
    inbox.batch?.(message.toString('latin1', 8, end), message.subarray(end), message.readUIntBE(1, 6))
  } else if (kind === kinds.append) openAppend(message, inbox)
  else if (kind === kinds.appended) inbox.appended?.(message.readUInt32BE(1))
}

function openAppend<T>(message: Buffer, inbox: Inbox<T>): void {
  const id = message.readUInt32BE(1)
  let count = message.readUInt16BE(5)
  let freezes = message.readUInt16BE(7)
  const batches: NewBatch[] = []
  const freeze: string[] = []
  let at = 9
  for (; count > 0; count--) {
    const start = at + 6 + message.readUInt8(at)
    const end = start + message.readUInt32BE(at + 2)
    const channel = message.toString('latin1', at + 6, start)
    batches.push({ channel, fast: message[at + 1] === 1, bytes: message.subarray(start, end) })
    at = end
  }
  for (; freezes > 0; freezes--) {
    const end = at + 1 + message.readUInt8(at)
    freeze.push(message.toString('latin1', at + 1, end))
    at = end
  }
  const asked = at < message.length ? (JSON.parse(message.toString('utf8', at)) as Asked[]) : []
  inbox.append?.(id, batches, freeze, asked)
}
