/** Bytes to leave free in front of a frame, enough for any WebSocket header. */
export const headroom = 10

/**
 * Writes the WebSocket header into the headroom and returns the whole frame (RFC 6455, section 5.2: one unmasked,
 * final frame from a server).
 */
export function frameInPlace(bytes: Uint8Array, opcode: 1 | 2): Buffer {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const length = buffer.length - headroom
  let start: number
  if (length < 126) {
    start = headroom - 2
    buffer[start + 1] = length
  } else if (length < 0x10000) {
    start = headroom - 4
    buffer[start + 1] = 126
    buffer.writeUInt16BE(length, start + 2)
  } else {
    start = 0
    buffer[1] = 127
    buffer.writeUInt32BE(0, 2)
    buffer.writeUInt32BE(length, 6)
  }
  buffer[start] = 0x80 | opcode
  return buffer.subarray(start)
}

/** The payload of a frame that `frameInPlace` made. */
export function payloadOf(frame: Buffer): Buffer {
  const length = frame[1] ?? 0
  return frame.subarray(length < 126 ? 2 : length === 126 ? 4 : 10)
}
