import { encodeHubFrame } from '@damon/protocol/codec-binary'
import type { MessageFrame, PositionedFrame, VerdictFrame } from '@damon/protocol/frames'
import type { Positionable } from './grouping.ts'
import { positioned } from './layout.ts'
import { binaryFrame } from './wire-run.ts'
import { headerLength, writeHeader } from './ws-frame.ts'

const { flagsAt, originAt, seqAt, numberAt, requestAt, verdictAt } = positioned

const nothing = new Uint8Array()
const unsaid = { again: false, bytes: false, late: false, origin: 0, seq: 0, number: 0, payload: nothing }

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

/** Frames of one form: all that is the same in them is encoded once, and each is this head with a few numbers written into it, and its payload. */
class FrameMaker implements Positionable {
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

  constructor(same: PositionedFrame) {
    this.#head = Buffer.from(encodeHubFrame(same))
  }

  /**
   * What the next frame is made of: its payload lies in the chunk, from one place to the other. `flags` are those of the client's frame,
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
    this.fill(out, at)
    out.set(this.#chunk.subarray(this.#from, this.#to), at + this.#head.length)
    // It shall not live as long as this.
    this.#chunk = nothing
  }

  /** Writes what else differs into the head, which begins at `at`. */
  protected fill(_out: Buffer, _at: number): void {}
}

/** Makes the messages of one session to one address with one event. */
export class MessageMaker extends FrameMaker {
  constructor(same: Pick<MessageFrame, 'session' | 'from' | 'to' | 'event'>) {
    super({ ...unsaid, ...same, type: 'message', any: false, request: false, deadline: 0 })
  }
}

/** Makes the verdicts that one session gives as a receiver, none of them with a code. */
export class VerdictMaker extends FrameMaker {
  #request = 0
  #verdict = 0

  constructor(same: Pick<VerdictFrame, 'session' | 'from'>) {
    super({ ...unsaid, ...same, type: 'verdict', request: 0, verdict: 'answered', code: '' })
  }

  /** Which request the next one is on, and its word, by its number on the wire. */
  about(request: number, verdict: number): void {
    this.#request = request
    this.#verdict = verdict
  }

  protected override fill(out: Buffer, at: number): void {
    out.writeUInt32BE(this.#request, at + requestAt)
    out[at + verdictAt] = this.#verdict
  }
}
