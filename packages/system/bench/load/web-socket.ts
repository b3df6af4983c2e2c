// RFC 6455, section 5.2, as far as a load generator needs it.
const mask = Buffer.from([0x2d, 0x5e, 0x91, 0xc4])

/** Opcodes of RFC 6455. */
export const opcodes = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

/** A whole masked frame; the mask is the same for all. */
export function masked(payload: Uint8Array, opcode: number): Buffer {
  const length = payload.length
  const at = payloadAt(length)
  const frame = Buffer.allocUnsafe(at + length)
  frame[0] = 0x80 | opcode
  if (length < 126) frame[1] = 0x80 | length
  else {
    if (length > 0xffff) throw new Error('The load generator sends no such long frames.')
    frame[1] = 0x80 | 126
    frame.writeUInt16BE(length, 2)
  }
  mask.copy(frame, at - 4)
  for (let i = 0; i < length; i++) frame[at + i] = (payload[i] ?? 0) ^ (mask[i & 3] ?? 0)
  return frame
}

/** Where the payload of a masked frame begins. */
export function payloadAt(length: number): number {
  return (length < 126 ? 2 : 4) + 4
}

/** Writes a number of 32 bits over four bytes of the payload of a masked frame that begins at `frameAt`. */
export function overwriteU32(
  frames: Buffer,
  frameAt: number,
  payloadStart: number,
  offset: number,
  value: number,
): void {
  const at = frameAt + payloadStart + offset
  for (let i = 0; i < 4; i++) frames[at + i] = ((value >>> (24 - 8 * i)) & 0xff) ^ (mask[(offset + i) & 3] ?? 0)
}

/** The head of a server's frame. */
export interface FrameHead {
  opcode: number
  /** Bytes before the payload. */
  head: number
  /** Bytes of the payload. */
  length: number
}

/** Reads the head of an unmasked frame; undefined while it is incomplete. */
export function readHead(bytes: Buffer, at: number): FrameHead | undefined {
  if (bytes.length - at < 2) return undefined
  const first = bytes[at] ?? 0
  const short = bytes[at + 1] ?? 0
  if (short < 126) return { opcode: first & 15, head: 2, length: short }
  const head = short === 126 ? 4 : 10
  if (bytes.length - at < head) return undefined
  const length = short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2))
  return { opcode: first & 15, head, length }
}
