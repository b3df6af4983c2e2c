import { type Batch, batchKinds } from './bus.ts'

// origin u32, prev u48, first u48, last u48, kind u8, fast u8; then the frames, which know their own lengths
const head = 24

/** The head of a batch as the bus carries it; the channel travels beside it, the frames behind it. */
export function batchHead(batch: Batch): Buffer {
  const out = Buffer.allocUnsafe(head)
  out.writeUInt32BE(batch.origin, 0)
  out.writeUIntBE(batch.prev, 4, 6)
  out.writeUIntBE(batch.first, 10, 6)
  out.writeUIntBE(batch.last, 16, 6)
  out[22] = batchKinds.indexOf(batch.kind)
  out[23] = batch.fast ? 1 : 0
  return out
}

/** A batch as the bus carries it. */
export function encodeBatch(batch: Batch): Buffer {
  return Buffer.concat([batchHead(batch), batch.bytes])
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
