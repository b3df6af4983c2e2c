import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeClientFrame, decodeHubFrame, encodeClientFrame, encodeHubFrame } from '../src/codec-binary.ts'
import { decodeClientText, decodeHubText, encodeClientText, encodeHubText } from '../src/codec-json.ts'
import { type ClientFrame, frameNumbers, type HubFrame, withPayload } from '../src/frames.ts'
import { clientFrames, hubFrames, payload } from './arbitrary-frames.ts'

/** The frame as its receiver sees it: with an empty payload where it may carry one and has none. */
function received(side: 'client' | 'hub', frame: ClientFrame | HubFrame): unknown {
  return withPayload[side].has(frame.type) ? { payload: new Uint8Array(), ...frame } : frame
}

describe.each(clientFrames)("a client's %s", (_type, frames) => {
  test('survives damon.v1', () => {
    fc.assert(
      fc.property(frames, (frame) => {
        expect(decodeClientFrame(encodeClientFrame(frame))).toEqual(received('client', frame))
      }),
    )
  })

  test('survives damon.v1.json', () => {
    fc.assert(
      fc.property(frames, (frame) => {
        expect(decodeClientText(encodeClientText(frame))).toEqual(received('client', frame))
      }),
    )
  })

  test('means the same in both codecs', () => {
    fc.assert(
      fc.property(frames, (frame) => {
        const binary = decodeClientFrame(encodeClientFrame(frame))
        expect(decodeClientText(encodeClientText(binary))).toEqual(binary)
        expect(encodeClientFrame(decodeClientText(encodeClientText(binary)))).toEqual(encodeClientFrame(binary))
      }),
    )
  })
})

describe.each(hubFrames)("the hub's %s", (_type, frames) => {
  test('survives damon.v1, with and without room for a header in front', () => {
    fc.assert(
      fc.property(frames, fc.integer({ min: 0, max: 14 }), (frame, headroom) => {
        const bytes = encodeHubFrame(frame, headroom)
        expect(bytes.subarray(0, headroom)).toEqual(new Uint8Array(headroom))
        expect(decodeHubFrame(bytes.subarray(headroom))).toEqual(received('hub', frame))
      }),
    )
  })

  test('survives damon.v1.json', () => {
    fc.assert(
      fc.property(frames, (frame) => {
        expect(decodeHubText(encodeHubText(frame))).toEqual(received('hub', frame))
      }),
    )
  })

  test('means the same in both codecs', () => {
    fc.assert(
      fc.property(frames, (frame) => {
        const binary = decodeHubFrame(encodeHubFrame(frame))
        expect(decodeHubText(encodeHubText(binary))).toEqual(binary)
      }),
    )
  })
})

test('no frame type is without its test', () => {
  expect(clientFrames.map(([type]) => type).sort()).toEqual(Object.keys(frameNumbers.client).sort())
  expect(hubFrames.map(([type]) => type).sort()).toEqual(Object.keys(frameNumbers.hub).sort())
})

test('a decoded payload is a view on the bytes that came', () => {
  const bytes = encodeClientFrame({ type: 'put', id: 1, key: 'a', payload: new Uint8Array([1, 2, 3]) })
  const frame = decodeClientFrame(bytes)
  expect(frame.payload?.buffer).toBe(bytes.buffer)
})

test('a quarter of a megabyte survives as text and as bytes', () => {
  const large = new Uint8Array(256 * 1024)
  for (const fill of [0x61, 0xff]) {
    large.fill(fill)
    const frame: ClientFrame = { type: 'put', id: 1, key: 'a', payload: large }
    expect(decodeClientText(encodeClientText(frame)).payload?.every((byte) => byte === fill)).toBe(true)
  }
})

test('text stays readable in damon.v1.json, bytes go as base64', () => {
  fc.assert(
    fc.property(payload, (bytes) => {
      const object = JSON.parse(encodeClientText({ type: 'put', id: 1, key: 'a', payload: bytes }))
      if (bytes.length === 0) expect(object).not.toHaveProperty('text')
      else if (Buffer.from(Buffer.from(bytes).toString()).equals(bytes))
        expect(object.text).toBe(Buffer.from(bytes).toString())
      else expect(object.base64).toBe(Buffer.from(bytes).toString('base64'))
    }),
  )
})

test('what a JSON frame leaves out has a default', () => {
  const send = decodeClientText('{"type":"send","number":1,"to":"all","event":"x"}')
  expect(send).toEqual({
    type: 'send',
    number: 1,
    again: false,
    any: false,
    bytes: false,
    to: 'all',
    event: 'x',
    payload: new Uint8Array(),
  })
  expect(decodeClientText('{"type":"request","number":1,"to":"all","event":"x"}')).toMatchObject({
    deadline: 0,
    quorum: 0,
  })
})

test('fields that a newer side adds are left out', () => {
  const frame = decodeClientText('{"type":"get","id":1,"key":"a","colour":"red","__proto__":{"lease":true}}')
  expect(frame).toEqual({ type: 'get', id: 1, key: 'a' })
  expect(Object.getPrototypeOf(frame)).toBe(Object.prototype)
})
