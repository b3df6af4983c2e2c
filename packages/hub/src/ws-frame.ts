/** Bytes to leave free in front of a frame, enough for any WebSocket header. */
export const headroom = 10

/** Length of the WebSocket header of an unmasked frame with that many bytes (RFC 6455, section 5.2). */
export function headerLength(length: number): 2 | 4 | 10 {
  return length < 126 ? 2 : length < 0x10000 ? 4 : 10
}

/** Writes the header of one whole, unmasked frame; returns where its payload begins. */
export function writeHeader(buffer: Buffer, at: number, length: number, opcode: 1 | 2): number {
  buffer[at] = 0x80 | opcode
  if (length < 126) {
    buffer[at + 1] = length
    return at + 2
  }
  if (length < 0x10000) {
    buffer[at + 1] = 126
    buffer.writeUInt16BE(length, at + 2)
    return at + 4
  }
  buffer[at + 1] = 127
  buffer.writeUInt32BE(0, at + 2)
  buffer.writeUInt32BE(length, at + 6)
  return at + 10
}

/** Writes the header into the headroom in front of a payload and returns the whole frame. */
export function frameInPlace(buffer: Buffer, opcode: 1 | 2): Buffer {
  const length = buffer.length - headroom
  const start = headroom - headerLength(length)
  writeHeader(buffer, start, length, opcode)
  return buffer.subarray(start)
}

/** The payload of a frame that this module made. */
export function payloadOf(frame: Buffer): Buffer {
  return frame.subarray(payloadAt(frame))
}

/** Where that begins. */
export function payloadAt(frame: Buffer): 2 | 4 | 10 {
  const length = frame[1] ?? 0
  return length < 126 ? 2 : length === 126 ? 4 : 10
}

/**
 * The frames of a run of them, one by one, as views.
 * @throws RangeError when the run is cut short
 */
export function* framesOf(run: Buffer): Generator<Buffer, void, undefined> {
  let at = 0
  while (at < run.length) {
    const short = run.readUInt8(at + 1)
    const start = at + (short < 126 ? 2 : short === 126 ? 4 : 10)
    const length = short < 126 ? short : short === 126 ? run.readUInt16BE(at + 2) : run.readUInt32BE(at + 6)
    if (start + length > run.length) throw new RangeError('A frame is cut short.')
    yield run.subarray(at, start + length)
    at = start + length
  }
}

/** How many frames a run has, the last one perhaps cut short. */
export function countFrames(run: Buffer): number {
  let count = 0
  for (let at = 0; at + 1 < run.length; count++) {
    const short = run[at + 1] ?? 0
    if (short < 126) at += 2 + short
    else if (short === 126) at += 4 + (at + 4 <= run.length ? run.readUInt16BE(at + 2) : 0)
    else at += 10 + (at + 10 <= run.length ? run.readUInt32BE(at + 6) : 0)
  }
  return count
}
