import type { MessageFrame, VerdictFrame } from '@damon/protocol/frames'

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
    request: 1,
    session: '00000000000000bb',
    from: 'bot/b',
    verdict: 'answered',
    code: '',
    payload: new Uint8Array(),
    ...frame,
  }
}
