import type { Batch, BusFrame } from './bus.ts'

// origin u32, prev u48, then per frame: seq u48, fast u8, length u32, bytes
const head = 10
const perFrame = 11

/** A batch as the bus carries it; the channel travels beside it. */
export function encodeBatch(batch: Batch): Buffer {
  const size = batch.frames.reduce((sum, frame) => sum + perFrame + frame.bytes.length, head)
  const out = Buffer.allocUnsafe(size)
  out.writeUInt32BE(batch.origin, 0)
  out.writeUIntBE(batch.prev, 4, 6)
  let at = head
  for (const frame of batch.frames) {
    out.writeUIntBE(frame.seq, at, 6)
    out[at + 6] = frame.fast ? 1 : 0
    out.writeUInt32BE(frame.bytes.length, at + 7)
    frame.bytes.copy(out, at + perFrame)
    at += perFrame + frame.bytes.length
  }
  return out
}

/**
 * Reads a batch; the frames are views on the input.
 * @throws RangeError when it is cut short
 */
export function decodeBatch(channel: string, bytes: Buffer): Batch {
  const origin = bytes.readUInt32BE(0)
  const prev = bytes.readUIntBE(4, 6)
  const frames: BusFrame[] = []
  let at = head
  while (at < bytes.length) {
    const seq = bytes.readUIntBE(at, 6)
    const fast = bytes[at + 6] === 1
    const length = bytes.readUInt32BE(at + 7)
    const end = at + perFrame + length
    if (end > bytes.length) throw new RangeError('The batch is cut short.')
    frames.push({ seq, fast, bytes: bytes.subarray(at + perFrame, end) })
    at = end
  }
  return { channel, origin, prev, frames }
}
