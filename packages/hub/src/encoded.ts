import { decodeHubFrame, encodeHubFrame } from '@damon/protocol/codec-binary'
import { encodeHubText } from '@damon/protocol/codec-json'
import { type Codec, frameNumbers, type HubFrame, type PositionedFrame } from '@damon/protocol/frames'
import { frameInPlace, headroom, payloadOf } from './ws-frame.ts'

const requestFlag = 16

/** A frame of the hub, encoded at most once per codec, for however many receivers. */
export class Encoded {
  #frame: HubFrame | undefined
  #binary: Buffer | undefined
  #json: Buffer | undefined

  private constructor(frame: HubFrame | undefined, binary: Buffer | undefined) {
    this.#frame = frame
    this.#binary = binary
  }

  static of(frame: HubFrame): Encoded {
    return new Encoded(frame, undefined)
  }

  /** From the bytes the bus carries. */
  static from(binary: Buffer): Encoded {
    return new Encoded(undefined, binary)
  }

  /** The decoded frame; the payload is a view. */
  get frame(): HubFrame {
    this.#frame ??= decodeHubFrame(payloadOf(this.binary))
    return this.#frame
  }

  /** As on the wire in `damon.v1`, WebSocket header included. */
  get binary(): Buffer {
    this.#binary ??= frameInPlace(encodeHubFrame(this.#frame as HubFrame, headroom), 2)
    return this.#binary
  }

  /** As on the wire in the given codec, WebSocket header included. */
  wire(codec: Codec): Buffer {
    if (codec === 'binary') return this.binary
    if (!this.#json) {
      const text = encodeHubText(this.frame)
      const bytes = Buffer.allocUnsafe(headroom + Buffer.byteLength(text))
      bytes.write(text, headroom)
      this.#json = frameInPlace(bytes, 1)
    }
    return this.#json
  }

  /** Whether it is a message that wants a reply; read from the header alone. */
  get isRequest(): boolean {
    const payload = payloadOf(this.binary)
    return payload[0] === frameNumbers.hub.message && ((payload[1] ?? 0) & requestFlag) !== 0
  }

  /** Whether it is a receiver's word on a request; read from the header alone. */
  get isAnswer(): boolean {
    const type = payloadOf(this.binary)[0]
    return type === frameNumbers.hub.verdict || type === frameNumbers.hub.part
  }

  /** The frame, if it is one of those that carry a position. */
  get positioned(): PositionedFrame | undefined {
    const frame = this.frame
    return frame.type === 'message' || frame.type === 'verdict' || frame.type === 'part' ? frame : undefined
  }
}
