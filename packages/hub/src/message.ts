import { encodeHubFrame } from '@damon/protocol/codec-binary'
import type { MessageFrame, PositionedFrame } from '@damon/protocol/frames'
import type { Positionable } from './grouping.ts'
import { binaryFrame } from './wire-run.ts'
import { headerLength, writeHeader } from './ws-frame.ts'

// Where the parts of a frame stand that differ from one to the next: docs/protocol.md has the layout.
const flagsAt = 1
const originAt = 2
const seqAt = 6
const numberAt = 12

/** Any frame with a position. */
export class EncodedFrame implements Positionable {
  readonly #frame: PositionedFrame
  #bytes: Buffer | undefined

  constructor(frame: PositionedFrame) {
    this.#frame = frame
  }

  place(origin: number, seq: number): void {
    this.#bytes = binaryFrame({ ...this.#frame, origin, seq })
  }

  /** The whole frame, WebSocket header included, once it has its place. */
  get bytes(): Buffer {
    if (!this.#bytes) throw new Error('A frame has no place yet.')
    return this.#bytes
  }

  get length(): number {
    return this.bytes.length
  }

  write(out: Buffer, at: number): void {
    out.set(this.bytes, at)
  }
}

/**
 * Makes the messages of one session to one address with one event: all that is the same in them is encoded once,
 * and each is this head with a few numbers written into it, and its payload.
 */
export class MessageMaker implements Positionable {
  readonly #head: Buffer
  #origin = 0
  #seq = 0
  #number = 0
  #flags = 0
  #chunk: Uint8Array = nothing
  /** Where the payload lies in the chunk. */
  #from = 0
  #to = 0
  #length = 0

  constructor(same: Pick<MessageFrame, 'session' | 'from' | 'to' | 'event'>) {
    this.#head = Buffer.from(
      encodeHubFrame({
        ...same,
        type: 'message',
        again: false,
        any: false,
        bytes: false,
        late: false,
        request: false,
        deadline: 0,
        origin: 0,
        seq: 0,
        number: 0,
        payload: nothing,
      }),
    )
  }

  /**
   * What the next message is made of: its payload lies in the chunk, from one place to the other. `flags` are those of the `send`,
   * which have the same places here.
   */
  set(number: number, flags: number, chunk: Uint8Array, from: number, to: number): void {
    this.#number = number
    this.#flags = flags
    this.#chunk = chunk
    this.#from = from
    this.#to = to
    this.#length = this.#head.length + to - from
  }

  place(origin: number, seq: number): void {
    this.#origin = origin
    this.#seq = seq
  }

  get length(): number {
    return headerLength(this.#length) + this.#length
  }

  write(out: Buffer, start: number): void {
    const at = writeHeader(out, start, this.#length, 2)
    out.set(this.#head, at)
    out[at + flagsAt] = this.#flags
    out.writeUInt32BE(this.#origin, at + originAt)
    out.writeUIntBE(this.#seq, at + seqAt, 6)
    out.writeUInt32BE(this.#number, at + numberAt)
    out.set(this.#chunk.subarray(this.#from, this.#to), at + this.#head.length)
    // It shall not live as long as this.
    this.#chunk = nothing
  }
}

const nothing = new Uint8Array()
