import { decodeHubFrame, encodeHubFrame } from '@damon/protocol/codec-binary'
import { encodeHubText } from '@damon/protocol/codec-json'
import type { Codec, HubFrame, PositionedFrame } from '@damon/protocol/frames'
import { countFrames, frameInPlace, framesOf, headroom, payloadOf } from './ws-frame.ts'

/** Frames one behind another, for however many receivers: made once, and once more for those who read JSON. */
export class WireRun {
  readonly binary: Buffer
  #json: Buffer | undefined
  #frames: number

  /** `frames`: how many it has; 0: they are to be counted. */
  constructor(binary: Buffer, frames = 0) {
    this.binary = binary
    this.#frames = frames
  }

  /** How many frames it has. */
  get frames(): number {
    if (this.#frames === 0) this.#frames = countFrames(this.binary)
    return this.#frames
  }

  /** As on the wire in the given codec, WebSocket headers included. */
  wire(codec: Codec): Buffer {
    if (codec === 'binary') return this.binary
    this.#json ??= Buffer.concat([...framesOf(this.binary)].map((frame) => textFrame(decodeHubFrame(payloadOf(frame)))))
    return this.#json
  }
}

/** One positioned frame, decoded, and its bytes. */
export class WireFrame extends WireRun {
  #frame: PositionedFrame | undefined

  /** The payload is a view. */
  get frame(): PositionedFrame {
    this.#frame ??= decodeHubFrame(payloadOf(this.binary)) as PositionedFrame
    return this.#frame
  }
}

/** A frame of the hub as a binary message. */
export function binaryFrame(frame: HubFrame): Buffer {
  return frameInPlace(encodeHubFrame(frame, headroom, Buffer.allocUnsafe) as Buffer, 2)
}

/** The same as a text message. */
export function textFrame(frame: HubFrame): Buffer {
  const text = encodeHubText(frame)
  const bytes = Buffer.allocUnsafe(headroom + Buffer.byteLength(text))
  bytes.write(text, headroom)
  return frameInPlace(bytes, 1)
}
