import { Duplex } from 'node:stream'
import { limits } from '@damon/protocol/limits'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HubSocket } from '../src/hub-socket.ts'

const most = 400
const options = { maxPayload: most, maxFragments: 8, maxBufferedChunks: 1_000, allowSynchronousEvents: true }

/** A line whose other end is the test. */
class Line extends Duplex {
  readonly written: Buffer[] = []
  override _read(): void {}
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.written.push(Buffer.from(chunk))
    done()
  }
}

interface Inside {
  setSocket(socket: Duplex, head: Buffer, options: object): void
  _isServer: boolean
}

/** What a connection makes of these chunks, ws alone or with the front before it. */
async function readings(chunks: Buffer[], front: boolean): Promise<string[]> {
  const log: string[] = []
  const line = new Line()
  const ws = new (HubSocket as unknown as new (address: null, protocols: undefined, options: object) => HubSocket)(
    null,
    undefined,
    { autoPong: false },
  )
  const inside = ws as unknown as Inside
  inside._isServer = true
  inside.setSocket(line, Buffer.alloc(0), options)
  if (front) ws.front(most)
  ws.belongTo({
    message: (data, isBinary) =>
      void log.push(`${isBinary ? 'binary' : 'text'} ${data.length} ${data.toString('hex')}`),
    whole: (chunk, from, to) => void log.push(`binary ${to - from} ${chunk.toString('hex', from, to)}`),
    fault: (name) => {
      log.push(`fault ${name}`)
      ws.terminate()
    },
    gone: () => void log.push('gone'),
  })
  ws.on('ping', (data: Buffer) => log.push(`ping ${data.toString('hex')}`))
  ws.on('pong', (data: Buffer) => log.push(`pong ${data.toString('hex')}`))
  ws.on('close', (code: number, reason: Buffer) => log.push(`closed ${code} ${reason}`))
  for (const chunk of chunks) {
    if (!line.destroyed) line.push(Buffer.from(chunk))
    await new Promise(setImmediate)
  }
  line.push(null)
  for (let i = 0; i < 4; i++) await new Promise(setImmediate)
  return [...log, `wrote ${Buffer.concat(line.written).toString('hex')}`]
}

interface Unusual {
  fin?: boolean
  rsv?: number
  mask?: Buffer | null
  /** How many bytes say the length: 0, 2 or 8. */
  wide?: 0 | 2 | 8
  length?: bigint
}
/** A frame of a client: RFC 6455, 5.2. */
function frame(opcode: number, payload: Buffer | string = '', unusual: Unusual = {}): Buffer {
  const body = Buffer.from(payload)
  const { fin = true, rsv = 0, mask = Buffer.from([0x11, 0xa2, 0x00, 0xff]) } = unusual
  const { length = BigInt(body.length), wide = body.length < 126 ? 0 : body.length < 65_536 ? 2 : 8 } = unusual
  const head = Buffer.alloc(2 + wide)
  head[0] = (fin ? 0x80 : 0) | rsv | opcode
  head[1] = (mask ? 0x80 : 0) | (wide === 0 ? Number(length) : wide === 2 ? 126 : 127)
  if (wide === 2) head.writeUInt16BE(Number(length), 2)
  if (wide === 8) head.writeBigUInt64BE(length, 2)
  const masked = mask ? body.map((byte, i) => byte ^ (mask[i % 4] as number)) : body
  return Buffer.concat([head, mask ?? Buffer.alloc(0), masked])
}

const [more, text, binary, close, ping, pong] = [0, 1, 2, 8, 9, 10]
const part = { fin: false }
const usual = frame(binary, 'usual')
const closing = (code: number, reason: Buffer | string = '') =>
  Buffer.concat([Buffer.of(code >> 8, code & 0xff), Buffer.from(reason)])

const cases: Record<string, Buffer[]> = {
  'one message': [usual],
  'an empty message': [frame(binary), usual],
  'many messages': Array.from({ length: 5 }, (_, i) => frame(binary, 'x'.repeat(i))),
  'a mask of zeros': [frame(binary, 'plain', { mask: Buffer.alloc(4) }), usual],
  'no mask': [usual, frame(binary, 'bare', { mask: null }), usual],
  'lengths at the edges': [125, 126, 127].map((length) => frame(binary, 'y'.repeat(length))),
  'lengths longer than they need be': [frame(binary, 'abc', { wide: 2 }), frame(binary, 'abc', { wide: 8 }), usual],
  'the largest message': [frame(binary, 'z'.repeat(most)), usual],
  'a message too large': [usual, frame(binary, 'z'.repeat(most + 1)), usual],
  'a length beyond all numbers': [usual, frame(binary, '', { wide: 8, length: 2n ** 63n }), usual],
  'a length of which little comes': [usual, frame(binary, 'abc', { wide: 8, length: 300n })],
  text: [frame(text, 'grüße'), usual, frame(text, '')],
  'text that is not UTF-8': [usual, frame(text, Buffer.from([0xc3, 0x28])), usual],
  fragments: [frame(binary, 'ab', part), frame(more, 'cd', part), frame(more, 'ef'), usual],
  'fragments of text, a character cut': [
    frame(text, Buffer.from([0xc3]), part),
    frame(more, Buffer.from([0xbc])),
    frame(text, Buffer.from([0xc3]), part),
    frame(more, Buffer.from([0xc3])),
  ],
  'control frames between fragments': [
    ...[frame(binary, 'ab', part), frame(ping, 'p'), frame(more, '', part), frame(pong, 'q'), frame(more, 'z'), usual],
  ],
  'a whole message between fragments': [frame(binary, 'ab', part), usual, frame(more, 'cd')],
  'a whole message between fragments, behind a ping': [frame(binary, 'ab', part), frame(ping, 'p'), usual],
  'a text between fragments': [frame(text, 'ab', part), frame(text, 'no')],
  'a continuation of nothing': [usual, frame(more, 'ab'), usual],
  'too many fragments': [frame(binary, 'a', part), ...Array.from({ length: 9 }, () => frame(more, 'a', part)), usual],
  'fragments too large together': [frame(binary, 'a'.repeat(300), part), frame(more, 'a'.repeat(300)), usual],
  'pings among messages': [usual, frame(ping, ''), usual, frame(ping, 'x'.repeat(125)), usual],
  'a ping too large': [usual, frame(ping, 'x'.repeat(126)), usual],
  'a ping in fragments': [usual, frame(ping, 'x', part), usual],
  'a close': [usual, frame(close), usual],
  'a close with a code': [usual, frame(close, closing(1000, 'bye')), usual],
  'a close with a code of ours': [frame(close, closing(4001))],
  'a close of one byte': [usual, frame(close, Buffer.of(3)), usual],
  'a close with a reason that is not UTF-8': [usual, frame(close, closing(1000, Buffer.of(0xff))), usual],
  'closes with codes that nobody may send': [usual, frame(close, closing(1005)), usual],
  'a close while fragments are open': [frame(binary, 'ab', part), frame(close, closing(1000))],
}
for (const rsv of [0x40, 0x20, 0x10])
  for (const opcode of [binary, text, ping, close])
    cases[`reserved bit ${rsv} of ${opcode}`] = [usual, frame(opcode, '', { rsv }), usual]
for (const opcode of [3, 7, 11, 15]) cases[`opcode ${opcode}`] = [usual, frame(opcode, 'x'), usual]

const cuts = (bytes: Buffer) =>
  Array.from({ length: bytes.length - 1 }, (_, i) => [bytes.subarray(0, i + 1), bytes.subarray(i + 1)])
const single = (bytes: Buffer) => Array.from(bytes, (byte) => Buffer.of(byte))

describe('what ws makes of a line is made of it with the front too', () => {
  it.each(Object.entries(cases))('%s, cut at every byte', async (_, frames) => {
    const bytes = Buffer.concat(frames)
    const ways = [
      [bytes],
      frames,
      single(bytes),
      ...(bytes.length < 200 ? cuts(bytes) : cuts(bytes).filter((_, i) => i % 7 === 0)),
    ]
    const expected = await readings([bytes], false)
    expect(expected.length).toBeGreaterThan(1)
    await Promise.all(
      ways.map(async (chunks) =>
        expect(await readings(chunks, true), `${chunks.map((c) => c.length)}`).toEqual(await readings(chunks, false)),
      ),
    )
  })

  it('any frames in any order, cut anywhere', async () => {
    const anyFrame = fc.oneof(
      { weight: 4, arbitrary: fc.uint8Array({ maxLength: 200 }).map((body) => frame(binary, Buffer.from(body))) },
      {
        weight: 1,
        arbitrary: fc
          .record({
            opcode: fc.constantFrom(more, text, binary, close, ping, pong, 3),
            body: fc.uint8Array({ maxLength: 130 }),
            fin: fc.boolean(),
            rsv: fc.constantFrom(0, 0, 0, 0x40),
            wide: fc.constantFrom<(0 | 2 | 8)[]>(2, 8),
          })
          .map(({ opcode, body, ...unusual }) => frame(opcode, Buffer.from(body), unusual)),
      },
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyFrame, { maxLength: 8 }),
        fc.array(fc.nat(1_000), { maxLength: 6 }),
        async (frames, at) => {
          const bytes = Buffer.concat(frames)
          const edges = [0, ...at.map((edge) => edge % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
          const chunks = edges
            .slice(1)
            .map((edge, i) => bytes.subarray(edges[i], edge))
            .filter(({ length }) => length > 0)
          expect(await readings(chunks, true)).toEqual(await readings(chunks, false))
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe('the usual message', () => {
  it('does not go through ws, whatever stands around it', async () => {
    const line = new Line()
    const ws = new (HubSocket as unknown as new (address: null, protocols: undefined, options: object) => HubSocket)(
      null,
      undefined,
      {},
    )
    const inside = ws as unknown as Inside & { _receiver: { write(chunk: Buffer): boolean } }
    inside._isServer = true
    inside.setSocket(line, Buffer.alloc(0), { ...options, maxPayload: limits.frameBytes })
    const seen: Buffer[] = []
    const { write } = inside._receiver
    inside._receiver.write = function (chunk) {
      seen.push(Buffer.from(chunk))
      return write.call(this, chunk)
    }
    ws.front(limits.frameBytes)
    const heard: string[] = []
    ws.belongTo({
      message: (data) => void heard.push(String(data)),
      whole: (chunk, from, to) => void heard.push(chunk.toString('latin1', from, to)),
      fault: () => undefined,
      gone: () => undefined,
    })
    const odd = frame(text, 'odd')
    line.push(Buffer.concat([usual, usual, odd, usual, odd.subarray(0, 3)]))
    await new Promise(setImmediate)
    line.push(Buffer.concat([odd.subarray(3), usual]))
    await new Promise(setImmediate)
    expect(heard).toEqual(['usual', 'usual', 'odd', 'usual', 'odd', 'usual'])
    expect(Buffer.concat(seen)).toEqual(Buffer.concat([odd, odd]))
    ws.terminate()
  })
})
