import { expect, test } from 'vitest'
import { encodeClientFrame, encodeHubFrame } from '../src/codec-binary.ts'
import { encodeClientText, encodeHubText } from '../src/codec-json.ts'
import type { ClientFrame, HubFrame } from '../src/frames.ts'

const payload = new Uint8Array()
const send = { type: 'send', number: 1, again: false, any: false, bytes: false, to: 'all', event: 'x', payload }
const reply = {
  type: 'reply',
  number: 1,
  again: false,
  bytes: false,
  session: '0123456789abcdef',
  request: 1,
  verdict: 'answered',
  code: '',
  payload,
}
const verdict = {
  type: 'verdict',
  number: 1,
  again: false,
  bytes: false,
  late: false,
  origin: 1,
  seq: 1,
  request: 1,
  session: '0123456789abcdef',
  from: 'bot/a',
  verdict: 'answered',
  code: '',
  payload,
}
const records = { type: 'records', id: 1, snapshot: true, reset: true, more: false, revision: 1 }
const entry = { key: 'a', change: 'put', revision: 1, generation: 1, leased: false, size: 3 }

test.each([
  ['an address of more than 255 characters', { ...send, to: 'x'.repeat(256) }, 'to'],
  ['an event that is not ASCII', { ...send, event: 'spiel.lösche' }, 'event'],
  ['an event with a line break', { ...send, event: 'a\nb' }, 'event'],
  ['a number below 0', { ...send, number: -1 }, 'number'],
  ['a number beyond 32 bits', { ...send, number: 2 ** 32 }, 'number'],
  ['a number with a fraction', { ...send, number: 1.5 }, 'number'],
  ['no number', { ...send, number: Number.NaN }, 'number'],
  ['a quorum beyond 16 bits', { ...send, type: 'request', deadline: 0, quorum: 65_536 }, 'quorum'],
  ['a deadline without end', { ...send, type: 'request', deadline: Infinity, quorum: 0 }, 'deadline'],
  ['a session of letters', { ...reply, session: 'zzzzzzzzzzzzzzzz' }, 'session'],
  ['a session that is too short', { ...reply, session: '0123' }, 'session'],
  ['a verdict of the hub', { ...reply, verdict: 'timed_out' }, 'verdict'],
  ['a code that is too long', { ...reply, code: 'x'.repeat(300) }, 'code'],
  ['a payload of a frame that carries none', { type: 'bye', payload: new Uint8Array(1) }, 'payload'],
])("a client's %s is refused by both codecs", (_what, frame, field) => {
  const refusal = expect.objectContaining({ code: 'bad_field', field })
  expect(() => encodeClientFrame(frame as unknown as ClientFrame)).toThrowError(refusal)
  expect(() => encodeClientText(frame as unknown as ClientFrame)).toThrowError(refusal)
})

test.each([
  ['a position beyond 48 bits', { ...verdict, seq: 2 ** 48 }, 'seq'],
  ['a position with a fraction', { ...verdict, seq: 2 ** 33 + 0.5 }, 'seq'],
  ['a position below 0', { ...verdict, seq: -1 }, 'seq'],
  ['an unknown verdict', { ...verdict, verdict: 'perhaps' }, 'verdict'],
  ['a sender that is not ASCII', { ...verdict, from: 'bot/ä' }, 'from'],
  ['sizes beyond the payload', { ...records, entries: [entry], payload: new Uint8Array(2) }, 'entries'],
  ['a payload beyond the sizes', { ...records, entries: [entry], payload: new Uint8Array(4) }, 'entries'],
])("the hub's %s is refused by both codecs", (_what, frame, field) => {
  const refusal = expect.objectContaining({ code: 'bad_field', field })
  expect(() => encodeHubFrame(frame as unknown as HubFrame)).toThrowError(refusal)
  expect(() => encodeHubText(frame as unknown as HubFrame)).toThrowError(refusal)
})

test.each(['nonsense', 'constructor', '__proto__', 'welcome'])('a client cannot say %s', (type) => {
  const refusal = expect.objectContaining({ code: 'bad_frame' })
  expect(() => encodeClientFrame({ type } as unknown as ClientFrame)).toThrowError(refusal)
  expect(() => encodeClientText({ type } as unknown as ClientFrame)).toThrowError(refusal)
})
