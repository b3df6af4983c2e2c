import { type Batch, batchKinds } from './bus.ts'

// origin u32, prev u48, first u48, last u48, kind u8, fast u8; then the frames, which know their own lengths
const head = 24

/** Length of a batch as the bus carries it; the channel travels beside it. */
export function encodedLength(batch: Batch): number {
  return head + batch.bytes.length
}

/** Writes a batch as the bus carries it; returns where it ends. */
export function writeBatch(out: Buffer, at: number, batch: Batch): number {
  out.writeUInt32BE(batch.origin, at)
  out.writeUIntBE(batch.prev, at + 4, 6)
  out.writeUIntBE(batch.first, at + 10, 6)
  out.writeUIntBE(batch.last, at + 16, 6)
  out[at + 22] = batchKinds.indexOf(batch.kind)
  out[at + 23] = batch.fast ? 1 : 0
  out.set(batch.bytes, at + head)
  return at + head + batch.bytes.length
}

/** A batch as the bus carries it, behind `headroom` bytes for others. */
export function encodeBatch(batch: Batch, headroom = 0): Buffer {
  const out = Buffer.allocUnsafe(headroom + encodedLength(batch))
  writeBatch(out, headroom, batch)
  return out
}

/**
 * Reads a batch; its frames are a view on the input.
 * @throws RangeError when it is cut short or of an unknown kind
 */
export function decodeBatch(channel: string, bytes: Buffer): Batch {
  const kind = batchKinds[bytes.readUInt8(22)]
  if (kind === undefined) throw new RangeError('The batch is of an unknown kind.')
  return {
    channel,
    origin: bytes.readUInt32BE(0),
    prev: bytes.readUIntBE(4, 6),
    first: bytes.readUIntBE(10, 6),
    last: bytes.readUIntBE(16, 6),
    kind,
    fast: bytes.readUInt8(23) === 1,
    bytes: bytes.subarray(head),
  }
}
