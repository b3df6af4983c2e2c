import type { Writable } from 'node:stream'

/** The first byte of a binary frame that is a whole message, without reserved bits. */
const wholeBinary = 0x82
const opcodeBits = 0x0f
const finBit = 0x80
const maskBit = 0x80
/** Opcodes below are of data. */
const firstControl = 0x08

/** What ws has of its receiver. */
export interface Receiver {
  write(chunk: Buffer): boolean
  end(): void
  on(event: string, listener: (...args: unknown[]) => void): void
  removeAllListeners(): void
  readonly _writableState: unknown
}

/** Who gets what need not go through ws. */
export interface FrontOwner {
  /** A whole binary message: it lies in the chunk, from one place to the other, and only until this returns. */
  whole(chunk: Buffer, from: number, to: number): void
}

/**
 * Stands in front of ws' receiver. A binary message in one frame that has come whole, the usual case, is unmasked where it lies and
 * given on; all else, other frames and other messages' frames, cut or broken ones, goes to ws as it came, which says what that means.
 */
export class FrameFront implements Receiver {
  readonly #receiver: Writable
  readonly #owner: FrontOwner
  readonly #most: number
  /** Of a frame that ws reads, bytes still to come. */
  #left = 0
  /** ws reads a message in several frames. */
  #open = false
  /** The beginning of a header, when the rest of it has not come yet. */
  #head: Buffer | undefined

  /** Takes the place of `receiver`; `most` is what a message may have, bytes. */
  constructor(receiver: Writable, owner: FrontOwner, most: number) {
    this.#receiver = receiver
    this.#owner = owner
    this.#most = most
  }

  /** What came off the line. It is changed. False: ws wants no more for now. */
  write(came: Buffer): boolean {
    let chunk = came
    if (this.#head) {
      chunk = Buffer.concat([this.#head, came])
      this.#head = undefined
    }
    const { length } = chunk
    /** From here on ws has not got what lies before `at`. */
    let given = 0
    let at = Math.min(this.#left, length)
    this.#left -= at
    while (at < length) {
      const size = frameSize(chunk, at)
      if (size === 0) {
        this.#head = Buffer.from(chunk.subarray(at))
        break
      }
      const end = at + size
      if (chunk[at] === wholeBinary && end <= length && this.#isUsual(chunk, at, size)) {
        if (!this.#give(chunk, given, at)) return true
        given = end
        this.#owner.whole(chunk, unmask(chunk, at, end), end)
      } else {
        const first = chunk[at] ?? 0
        if ((first & opcodeBits) < firstControl) this.#open = (first & finBit) === 0
        this.#left = Math.max(0, end - length)
      }
      at = Math.min(end, length)
    }
    this.#give(chunk, given, at)
    return !this.#receiver.writableNeedDrain
  }

  // What else ws wants of its receiver.

  get _writableState(): unknown {
    return (this.#receiver as Writable & { _writableState: unknown })._writableState
  }

  end(): void {
    this.#receiver.end()
  }

  on(event: string, listener: (...args: unknown[]) => void): void {
    this.#receiver.on(event, listener)
  }

  removeAllListeners(): void {
    this.#receiver.removeAllListeners()
  }

  #isUsual(chunk: Buffer, at: number, size: number): boolean {
    return !this.#open && ((chunk[at + 1] ?? 0) & maskBit) !== 0 && size <= this.#most
  }

  /** Gives ws what comes before; false: ws is done with this connection. */
  #give(chunk: Buffer, from: number, to: number): boolean {
    if (!this.#receiver.writable) return false
    if (from === to) return true
    this.#receiver.write(from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to))
    return this.#receiver.writable
  }
}

/** Length of the frame that begins there, header included; 0: there is not enough of it to say. */
function frameSize(chunk: Buffer, at: number): number {
  const have = chunk.length - at
  if (have < 2) return 0
  const second = chunk[at + 1] ?? 0
  const short = second & 0x7f
  const extra = short === 126 ? 2 : short === 127 ? 8 : 0
  const head = 2 + extra + ((second & maskBit) !== 0 ? 4 : 0)
  if (have < head) return 0
  if (extra === 0) return head + short
  if (extra === 2) return head + chunk.readUInt16BE(at + 2)
  return head + chunk.readUInt32BE(at + 2) * 2 ** 32 + chunk.readUInt32BE(at + 6)
}

/** Takes the mask off the payload of a whole frame; returns where that begins. */
function unmask(chunk: Buffer, at: number, end: number): number {
  const short = (chunk[at + 1] ?? 0) & 0x7f
  const maskAt = at + (short === 126 ? 4 : short === 127 ? 10 : 2)
  const start = maskAt + 4
  const [a = 0, b = 0, c = 0, d = 0] = [chunk[maskAt], chunk[maskAt + 1], chunk[maskAt + 2], chunk[maskAt + 3]]
  let i = start
  for (; i + 3 < end; i += 4) {
    chunk[i] = (chunk[i] as number) ^ a
    chunk[i + 1] = (chunk[i + 1] as number) ^ b
    chunk[i + 2] = (chunk[i + 2] as number) ^ c
    chunk[i + 3] = (chunk[i + 3] as number) ^ d
  }
  if (i < end) chunk[i] = (chunk[i] as number) ^ a
  if (i + 1 < end) chunk[i + 1] = (chunk[i + 1] as number) ^ b
  if (i + 2 < end) chunk[i + 2] = (chunk[i + 2] as number) ^ c
  return start
}
