import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeClientFrame, decodeHubFrame, encodeClientFrame, encodeHubFrame } from '../src/codec-binary.ts'
import { decodeClientText, decodeHubText, encodeClientText, encodeHubText } from '../src/codec-json.ts'
import { DamonError } from '../src/errors.ts'
import type { ClientFrame, HubFrame } from '../src/frames.ts'
import { clientFrames, hubFrames } from './arbitrary-frames.ts'

const anyClientFrame: fc.Arbitrary<ClientFrame> = fc.oneof(...clientFrames.map(([, frames]) => frames))
const anyHubFrame: fc.Arbitrary<HubFrame> = fc.oneof(...hubFrames.map(([, frames]) => frames))
const runs = { numRuns: 2_000 }

/** The frame that came out, or the code of the refusal; every other exception fails the test. */
function outcome<T>(decode: () => T): T | 'bad_frame' | 'bad_field' {
  try {
    return decode()
  } catch (error) {
    if (!(error instanceof DamonError)) throw error
    expect(['bad_frame', 'bad_field']).toContain(error.code)
    return error.code as 'bad_frame' | 'bad_field'
  }
}

/** A change to bytes: flip a bit, set a byte, cut, insert, repeat a piece. */
const mutation = fc.record({
  kind: fc.constantFrom('flip', 'set', 'cut', 'insert', 'double'),
  at: fc.nat(),
  value: fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 0x7f, 0x80, 0xff)),
})
const mutations = fc.array(mutation, { minLength: 1, maxLength: 4 })

function mutate(original: Uint8Array, changes: { kind: string; at: number; value: number }[]): Uint8Array {
  let bytes = [...original]
  for (const { kind, at, value } of changes) {
    const place = bytes.length === 0 ? 0 : at % bytes.length
    if (kind === 'flip') bytes[place] = (bytes[place] ?? 0) ^ (1 << (value % 8))
    else if (kind === 'set') bytes[place] = value
    else if (kind === 'cut') bytes = bytes.slice(0, place)
    else if (kind === 'insert') bytes.splice(place, 0, value)
    else bytes = [...bytes, ...bytes.slice(place)]
  }
  return Uint8Array.from(bytes)
}

describe.each([
  ['a client', decodeClientFrame, decodeClientText, encodeClientFrame, encodeClientText, anyClientFrame],
  ['the hub', decodeHubFrame, decodeHubText, encodeHubFrame, encodeHubText, anyHubFrame],
] as const)('what comes as a frame of %s', (_who, fromBytes, fromText, toBytes, toText, anyFrame) => {
  const encodeBytes = toBytes as (frame: ClientFrame | HubFrame) => Uint8Array
  const encodeText = toText as (frame: ClientFrame | HubFrame) => string

  /** By what is on the wire, where 0 has no sign. */
  const toldAgain = (frame: ClientFrame | HubFrame) => {
    expect(JSON.parse(encodeText(fromBytes(encodeBytes(frame))))).toEqual(JSON.parse(encodeText(frame)))
    expect(encodeBytes(fromText(encodeText(frame)))).toEqual(encodeBytes(frame))
  }

  test('and is arbitrary bytes is decoded or refused with a code', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void outcome(() => fromBytes(bytes))),
      runs,
    )
  })

  test('and is arbitrary text or JSON is decoded or refused with a code', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json()), (text) => void outcome(() => fromText(text))),
      runs,
    )
  })

  test('and has arbitrary values in its fields is decoded or refused with a code', () => {
    const wild = fc.tuple(
      anyFrame,
      fc.dictionary(fc.constantFrom('number', 'to', 'id', 'key', 'entries', 'text', 'type', 'tally'), fc.jsonValue()),
    )
    fc.assert(
      fc.property(wild, ([frame, fields]) => {
        const text = JSON.stringify({ ...JSON.parse(encodeText(frame)), ...fields })
        outcome(() => fromText(text))
      }),
      runs,
    )
  })

  test('and was mutated as bytes is decoded or refused, and what was decoded can be told again', () => {
    fc.assert(
      fc.property(anyFrame, mutations, (frame, changes) => {
        const result = outcome(() => fromBytes(mutate(encodeBytes(frame), changes)))
        if (typeof result === 'string') return
        toldAgain(result)
      }),
      runs,
    )
  })

  test('and was mutated as text is decoded or refused, and what was decoded can be told again', () => {
    fc.assert(
      fc.property(anyFrame, mutations, (frame, changes) => {
        const text = new TextDecoder().decode(mutate(new TextEncoder().encode(encodeText(frame)), changes))
        const result = outcome(() => fromText(text))
        if (typeof result === 'string') return
        toldAgain(result)
      }),
      runs,
    )
  })

  test('and was cut short anywhere is refused, unless the rest of its payload is missing', () => {
    fc.assert(
      fc.property(anyFrame, (frame) => {
        const bytes = encodeBytes(frame)
        const head = bytes.length - ((frame.payload as Uint8Array | undefined)?.length ?? 0)
        for (let end = 0; end < head; end++)
          expect(outcome(() => fromBytes(bytes.subarray(0, end)))).toBeTypeOf('string')
      }),
      { numRuns: 200 },
    )
  })
})

describe('is refused', () => {
  const bytes = (...values: (number | string)[]) =>
    Buffer.concat(values.map((value) => Buffer.from(typeof value === 'number' ? [value] : value)))
  const control = (type: number, length: number, rest: string) =>
    bytes(type, 0, length >>> 24, (length >>> 16) & 255, (length >>> 8) & 255, length & 255, rest)

  test.each([
    ['nothing at all', bytes(), 'bad_frame'],
    ['a type that does not exist', bytes(0, 0), 'bad_frame'],
    ['a type of the other side', bytes(64, 0), 'bad_frame'],
    ['a length beyond the end', control(24, 0xffffffff, '{}'), 'bad_frame'],
    ['fields that are no JSON', control(24, 2, '{"'), 'bad_frame'],
    ['fields that are no UTF-8', bytes(24, 0, 0, 0, 0, 2, 0xff, 0xfe), 'bad_frame'],
    ['fields that are no object', control(24, 2, '[]'), 'bad_field'],
    ['a payload behind a frame that carries none', control(30, 2, '{}x'), 'bad_field'],
    ['a name that is not ASCII', bytes(1, 0, 0, 0, 0, 1, 1, 1, 0xe4, 'x'), 'bad_frame'],
    ['a verdict that only the hub may give', bytes(3, 0, 0, 0, 0, 1, 6, 0, '01234567', 0, 0, 0, 1), 'bad_field'],
  ])('as bytes: %s', (_what, input, code) => {
    expect(outcome(() => decodeClientFrame(input))).toBe(code)
  })

  test.each([
    ['no object', '"send"', 'bad_frame'],
    ['a list', '[]', 'bad_frame'],
    ['no type', '{}', 'bad_frame'],
    ['a type that is no text', '{"type":1}', 'bad_field'],
    ['a type that every object has', '{"type":"constructor"}', 'bad_frame'],
    ['the type __proto__', '{"type":"__proto__"}', 'bad_frame'],
    ['a type that only a prototype gives', '{"__proto__":{"type":"bye"}}', 'bad_frame'],
    ['a type of the other side', '{"type":"welcome"}', 'bad_frame'],
    ['a number below 0', '{"type":"get","id":-1,"key":"a"}', 'bad_field'],
    ['a number beyond 32 bits', '{"type":"get","id":4294967296,"key":"a"}', 'bad_field'],
    ['a number with a fraction', '{"type":"get","id":1.5,"key":"a"}', 'bad_field'],
    ['a number as text', '{"type":"get","id":"1","key":"a"}', 'bad_field'],
    ['half a character as payload', '{"type":"put","id":1,"key":"a","text":"\\ud800"}', 'bad_field'],
    ['text and base64 at once', '{"type":"put","id":1,"key":"a","text":"a","base64":"YQ=="}', 'bad_field'],
    ['base64 that is none', '{"type":"put","id":1,"key":"a","base64":"%"}', 'bad_field'],
    ['a payload of a frame that carries none', '{"type":"bye","text":"x"}', 'bad_field'],
    ['a key with upper case', '{"type":"get","id":1,"key":"A"}', 'bad_field'],
    ['a name of 256 characters', `{"type":"send","number":1,"to":"${'x'.repeat(256)}","event":"x"}`, 'bad_field'],
    ['a session that is none', '{"type":"part","number":1,"session":"0123456789ABCDEF","request":1}', 'bad_field'],
    [
      'more groups than a session may have',
      `{"type":"hello","token":"t","groups":["a"${',"a"'.repeat(64)}]}`,
      'bad_field',
    ],
  ])('as text: %s', (_what, input, code) => {
    expect(outcome(() => decodeClientText(input))).toBe(code)
  })

  test('records whose sizes do not fill the payload', () => {
    const frame = { id: 1, snapshot: true, reset: true, more: false, revision: 1 }
    const entry = { key: 'a', change: 'put', revision: 1, generation: 1, leased: false, size: 3 }
    const meta = JSON.stringify({ ...frame, entries: [entry] })
    for (const value of ['', 'ab', 'abcd'])
      expect(outcome(() => decodeHubFrame(control(83, meta.length, meta + value)))).toBe('bad_field')
    expect(outcome(() => decodeHubFrame(control(83, meta.length, `${meta}abc`)))).toMatchObject({ type: 'records' })
  })

  test('nesting of any depth, at once', () => {
    const deep = '['.repeat(120_000) + ']'.repeat(120_000)
    expect(outcome(() => decodeClientText(deep))).toBe('bad_frame')
    expect(outcome(() => decodeClientText(`{"type":"get","id":${deep},"key":"a"}`))).toBe('bad_field')
    expect(outcome(() => decodeClientText(`{"type":"get","id":1,"key":"a","more":${deep}}`))).toMatchObject({ id: 1 })
  })
})

test('a refusal names the field', () => {
  expect(() => decodeClientText('{"type":"hello","token":"t","resume":{"session":"x"}}')).toThrowError(
    expect.objectContaining({ code: 'bad_field', field: 'resume.session' }),
  )
})

test('names that objects inherit stay what they are in a tally', () => {
  const frame = decodeHubText('{"type":"settled","request":1,"tally":{"__proto__":1,"constructor":2}}')
  expect(frame).toMatchObject({ type: 'settled', tally: { constructor: 2 } })
  expect(({} as Record<string, unknown>).answered).toBeUndefined()
})
