import { StringDecoder } from 'node:string_decoder'

/** The longest line that is kept whole; of a longer one its beginning, in characters. */
export const longestLine = 16 * 1024

/** The lines of a stream, however its chunks are cut; empty ones are left out. */
export async function* lines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  for await (const chunk of chunks) {
    const parts = (rest + decoder.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))).split('\n')
    rest = (parts.pop() ?? '').slice(0, longestLine)
    for (const part of parts) if (part.trim() !== '') yield part.slice(0, longestLine).trimEnd()
  }
  rest += decoder.end()
  if (rest.trim() !== '') yield rest
}

/** The payload of Docker's multiplexed streams: 8 bytes of header (stream, length), then as many bytes. */
export async function* logFrames(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let header = Buffer.alloc(0)
  let left = 0
  for await (const chunk of chunks) {
    let bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    while (bytes.length > 0) {
      if (left > 0) {
        const piece = bytes.subarray(0, left)
        left -= piece.length
        bytes = bytes.subarray(piece.length)
        yield piece
        continue
      }
      const missing = 8 - header.length
      header = Buffer.concat([header, bytes.subarray(0, missing)])
      bytes = bytes.subarray(missing)
      if (header.length < 8) break
      left = header.readUInt32BE(4)
      header = Buffer.alloc(0)
    }
  }
}
