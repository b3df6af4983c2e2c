import { decodeHubFrame } from '@damon/protocol/codec-binary'
import type { HubFrame, MessageFrame, PositionedFrame, VerdictFrame } from '@damon/protocol/frames'
import type { Batch } from '../src/bus.ts'
import { binaryFrame } from '../src/wire-run.ts'
import { framesOf, payloadOf } from '../src/ws-frame.ts'

/** A message as it goes to its receivers. */
export function messageFrame(frame: Partial<MessageFrame> = {}): MessageFrame {
  return {
    type: 'message',
    again: false,
    any: false,
    bytes: false,
    late: false,
    request: false,
    deadline: 0,
    origin: 1,
    seq: 1,
    number: 1,
    session: '00000000000000aa',
    from: 'bot/a',
    to: 'group/g',
    event: 'x',
    payload: new Uint8Array(),
    ...frame,
  }
}

/** A receiver's word on a request. */
export function verdictFrame(frame: Partial<VerdictFrame> = {}): VerdictFrame {
  return {
    type: 'verdict',
    again: false,
    bytes: false,
    late: false,
    origin: 1,
    seq: 1,
    number: 1,
    request: 1,
    session: '00000000000000bb',
    from: 'bot/b',
    verdict: 'answered',
    code: '',
    payload: new Uint8Array(),
    ...frame,
  }
}

/** A frame as it goes to the sockets, WebSocket header included. */
export function wire(frame: HubFrame): Buffer {
  return binaryFrame(frame)
}

/** The frames of a run of them. */
export function unwire(run: Buffer): HubFrame[] {
  return [...framesOf(run)].map((frame) => decodeHubFrame(payloadOf(frame)))
}

/** Messages of one origin on one channel with these numbers, as the bus carries them. */
export function batchOf(origin: number, prev: number, seqs: number[], more: Partial<Batch & MessageFrame> = {}): Batch {
  const { channel = 'group/g', fast = false, kind = 'message', payload = new Uint8Array() } = more
  const request = kind === 'request'
  const frames = seqs.map((seq) => wire(messageFrame({ origin, seq, request, payload, to: channel })))
  const [first = 0, last = 0] = [seqs[0], seqs.at(-1)]
  return { channel, origin, prev, first, last, kind, fast, bytes: Buffer.concat(frames) }
}

/** `origin/seq` of a frame that has a position. */
export function position(frame: HubFrame): string {
  const { origin, seq } = frame as PositionedFrame
  return `${origin}/${seq}`
}
