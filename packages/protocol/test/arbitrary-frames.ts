import fc from 'fast-check'
import { type ClientFrame, type HubFrame, replyVerdicts, verdicts } from '../src/frames.ts'

const u16 = fc.integer({ min: 0, max: 0xffff })
const u32 = fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff))
const u48 = fc.oneof(
  fc.integer({ min: 0, max: 2 ** 48 - 1 }),
  fc.constantFrom(0, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 48 - 1),
)
const flag = fc.boolean()
const session = fc.stringMatching(/^[0-9a-f]{16}$/)
const segment = fc.stringMatching(/^[a-z0-9._-]{1,12}$/)
const key = fc.array(segment, { minLength: 1, maxLength: 8 }).map((segments) => segments.join('/'))
const prefix = fc.oneof(
  fc.constant(''),
  key,
  key.map((text) => `${text}/`),
)
const name = fc.oneof(
  fc.stringMatching(/^[\x20-\x7e]{0,40}$/),
  fc.constantFrom('', 'all', 'group/bots', 'client/bot/a', 'x'.repeat(255), '__proto__', '"\\'),
)
const words = fc.string({ unit: 'binary', maxLength: 60 })
const finite = fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0)
const position = fc.record({ origin: u32, to: words, seq: u48 })
/** Text, bytes that are no UTF-8, control characters, a byte order mark in front, nothing at all. */
export const payload: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  words.map((text) => new TextEncoder().encode(text)),
  fc.constantFrom(
    new Uint8Array(),
    new Uint8Array([0xef, 0xbb, 0xbf, 0x61]),
    new Uint8Array([0xed, 0xa0, 0x80]),
    new Uint8Array(300),
    new TextEncoder().encode('{"type":"bye"}\n"\\\u2028'),
  ),
)

/** An object with all of `must` and any of `may`. */
function fields<Must extends object, May extends object>(
  must: { [K in keyof Must]: fc.Arbitrary<Must[K]> },
  may: { [K in keyof May]: fc.Arbitrary<May[K]> },
): fc.Arbitrary<Must & Partial<May>> {
  const partial = fc.record(may, { requiredKeys: [] }) as fc.Arbitrary<Partial<May>>
  return fc.tuple(fc.record(must), partial).map(([a, b]) => ({ ...a, ...b }) as Must & Partial<May>)
}

const send = { number: u32, again: flag, any: flag, bytes: flag, to: name, event: name, payload }
const reply = { number: u32, again: flag, bytes: flag, session, request: u32, payload }
const verdict = {
  again: flag,
  bytes: flag,
  late: flag,
  origin: u32,
  seq: u48,
  number: u32,
  request: u32,
  session,
  from: name,
  payload,
}

/** An arbitrary for the body of each frame type; a type that has none does not compile. */
type Arbitraries<Frame extends { type: string }> = {
  [Type in Frame['type']]: fc.Arbitrary<Omit<Extract<Frame, { type: Type }>, 'type'>>
}

const client: Arbitraries<ClientFrame> = {
  send: fc.record(send),
  request: fc.record({ ...send, idempotent: fc.boolean(), deadline: u32, quorum: u16 }),
  reply: fc.record({ ...reply, verdict: fc.constantFrom(...replyVerdicts), code: name }),
  part: fc.record(reply),
  hello: fields(
    { token: words },
    {
      proof: words,
      version: words,
      groups: fc.array(segment, { maxLength: 5 }),
      resume: fc.record({
        session,
        ticket: words,
        epoch: words,
        positions: fc.array(position, { maxLength: 4 }),
        ack: fc.record({ origin: u32, seq: u48 }),
        done: u32,
        sent: u32,
      }),
    },
  ),
  auth: fc.record({ id: u32, token: words }),
  join: fc.record({ id: u32, group: segment }),
  leave: fc.record({ id: u32, group: segment }),
  cancel: fc.record({ request: u32 }),
  put: fields({ id: u32, key, payload }, { lease: flag, expect: u48, generation: u48 }),
  patch: fc.record({ id: u32, key, payload }),
  drop: fields({ id: u32, key }, { reason: words, expect: u48 }),
  get: fc.record({ id: u32, key }),
  list: fc.record({ id: u32, prefix }),
  watch: fields({ id: u32, prefix }, { revision: u48, resync: fc.boolean() }),
  unwatch: fc.record({ id: u32 }),
  ping: fields({}, { t: finite }),
  bye: fields({}, { reason: words }),
}

const entry = fc
  .tuple(
    fields(
      {
        key: words,
        change: fc.constantFrom('put' as const, 'suspect' as const, 'drop' as const),
        revision: u48,
        generation: u48,
        leased: flag,
      },
      { reason: words },
    ),
    payload,
  )
  .map(([meta, value]) => ({ meta: { ...meta, size: value.length }, value }))

const records = fc
  .tuple(
    fc.record({ id: u32, snapshot: flag, reset: flag, more: flag, revision: u48 }),
    fc.array(entry, { maxLength: 5 }),
  )
  .map(([head, entries]) => ({
    ...head,
    entries: entries.map(({ meta }) => meta),
    payload: Uint8Array.from(entries.flatMap(({ value }) => [...value])),
  }))

const hub: Arbitraries<HubFrame> = {
  message: fc.record({
    again: flag,
    any: flag,
    bytes: flag,
    late: flag,
    request: flag,
    deadline: u32,
    origin: u32,
    seq: u48,
    number: u32,
    session,
    from: name,
    to: name,
    event: name,
    payload,
  }),
  verdict: fc.record({ ...verdict, verdict: fc.constantFrom(...verdicts), code: name }),
  part: fc.record(verdict),
  challenge: fc.record({ nonce: words, protocol: words, helloMs: finite }),
  welcome: fields(
    {
      session,
      ticket: words,
      epoch: words,
      resumed: flag,
      subject: words,
      heartbeatMs: finite,
      frameBytes: finite,
      done: u32,
      ack: fc.record({ origin: u32, seq: u48 }),
      positions: fc.array(position, { maxLength: 4 }),
    },
    { reason: words, lapsed: flag, refused: fc.array(u32, { maxLength: 4 }) },
  ),
  settled: fields(
    { request: u32, tally: fc.dictionary(fc.constantFrom(...verdicts, 'constructor', 'toString'), finite) },
    { except: fc.array(u32, { maxLength: 4 }), lost: flag },
  ),
  records,
  gap: fc.record({ origin: u32, to: words, from: u48, until: u48 }),
  goaway: fields({ reason: words, afterMs: finite, withinMs: finite }, { hubs: fc.array(words, { maxLength: 3 }) }),
  error: fields(
    { code: words, message: words, retry: flag },
    { field: words, id: u32, number: u32, retryAfterMs: finite },
  ),
  ack: fields(
    {},
    {
      number: u32,
      origin: u32,
      seq: u48,
      id: u32,
      revision: u48,
      generation: u48,
      positions: fc.array(position, { maxLength: 4 }),
    },
  ),
  pong: fields({}, { t: finite, revision: u48, digests: fc.dictionary(fc.stringMatching(/^[0-9]{1,9}$/), words) }),
  cancel: fc.record({ origin: u32, seq: u48, to: words, session, request: u32 }),
}

function complete<Frame>(table: Record<string, fc.Arbitrary<object>>): [type: string, frames: fc.Arbitrary<Frame>][] {
  return Object.entries(table).map(([type, body]) => [type, body.map((rest) => ({ type, ...rest }) as Frame)])
}

/** Every type of a client's frame, and arbitrary frames of it. */
export const clientFrames = complete<ClientFrame>(client)

/** Every type of the hub's frames, and arbitrary frames of it. */
export const hubFrames = complete<HubFrame>(hub)
