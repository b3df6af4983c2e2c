import { encodeHubFrame } from '@damon/protocol/codec-binary'
import { frameNumbers, type MessageFrame } from '@damon/protocol/frames'
import { headerLength, writeHeader } from './ws-frame.ts'

// Where the parts of a message stand that differ from one to the next: docs/protocol.md has the layout.
const flagsAt = 1
const originAt = 2
const seqAt = 6
const numberAt = 12
const flag = { again: 1, any: 2, bytes: 4 } as const

/**
 * Makes the messages of one session to one address with one event: all that is the same in them is encoded once,
 * and each is this head with a few numbers written into it, and its payload.
 */
export class MessageMaker {
  readonly #head: Buffer

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
        payload: new Uint8Array(),
      }),
    )
    if (this.#head[0] !== frameNumbers.hub.message) throw new Error('The head of a message is not one.')
  }

  /** One message, WebSocket header included. The payload is copied. */
  make(
    frame: { number: number; again: boolean; any: boolean; bytes: boolean; payload: Uint8Array },
    origin: number,
    seq: number,
  ): Buffer {
    const length = this.#head.length + frame.payload.length
    const out = Buffer.allocUnsafe(headerLength(length) + length)
    const at = writeHeader(out, 0, length, 2)
    this.#head.copy(out, at)
    out[at + flagsAt] = (frame.again ? flag.again : 0) | (frame.any ? flag.any : 0) | (frame.bytes ? flag.bytes : 0)
    out.writeUInt32BE(origin, at + originAt)
    out.writeUIntBE(seq, at + seqAt, 6)
    out.writeUInt32BE(frame.number, at + numberAt)
    out.set(frame.payload, at + this.#head.length)
    return out
  }
}
