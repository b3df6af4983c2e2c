import { damonError } from './errors.ts'
import {
  type ClientControlFrame,
  type ClientFrame,
  type ClientPartFrame,
  frameNumbers,
  type HubControlFrame,
  type HubFrame,
  type HubPartFrame,
  type MessageFrame,
  type ReplyFrame,
  type RequestFrame,
  replyVerdicts,
  type SendFrame,
  type VerdictFrame,
  verdicts,
} from './frames.ts'
import { isSession } from './names.ts'
import { checkControl, checkPayload, type Side } from './schema.ts'

// damon.v1, big-endian. Every frame: type u8, flags u8. Then by type:
//   send     number u32, to u8, event u8; to, event, payload
//   request  number u32, deadline u32, quorum u16, to u8, event u8; to, event, payload
//   reply    number u32, verdict u8, code u8, session 8 bytes, request u32; code, payload
//   message  origin u32, seq u48, number u32, session 8 bytes, deadline u32, to u8, from u8, event u8; to, from, event, payload
//   verdict  origin u32, seq u48, number u32, request u32, session 8 bytes, verdict u8, code u8, from u8; code, from, payload
//   part     as reply from a client, as verdict from the hub
//   ack      with flag compact: number u32, origin u32, seq u48
//   others   length u32 of a JSON object; the object, payload
// Unused flags and the unused bytes of a part are written as 0 and not read.
const flag = { again: 1, any: 2, bytes: 4, late: 8, request: 16, compact: 32, idempotent: 64 } as const

const sizes = { send: 8, request: 14, reply: 20, message: 31, verdict: 31, ack: 16, control: 6 } as const

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })
const nothing = new Uint8Array()

const typeNames: Record<Side, (string | undefined)[]> = { client: [], hub: [] }
for (const side of ['client', 'hub'] as const)
  for (const [name, number] of Object.entries(frameNumbers[side])) typeNames[side][number] = name

/** Where the bytes of a frame come from: as many as are asked for, whatever was in them. */
export type Allocate = (length: number) => Uint8Array

const allocateNew: Allocate = (length) => new Uint8Array(length)

/** Writes numbers and names that fit their place. @throws DamonError `bad_field` for others */
class Writer {
  readonly bytes: Uint8Array
  readonly #type: string
  #at: number

  constructor(type: string, size: number, headroom = 0, allocate = allocateNew) {
    this.bytes = allocate(headroom + size)
    this.#type = type
    this.#at = headroom
  }
  u8(value: number) {
    this.bytes[this.#at++] = value
  }
  u16(field: string, value: number) {
    if (value !== (value & 0xffff)) throw this.#unfit(field, 'is no number of 16 bits')
    this.u8(value >>> 8)
    this.u8(value)
  }
  u32(field: string, value: number) {
    if (value !== value >>> 0) throw this.#unfit(field, 'is no number of 32 bits')
    this.u8(value >>> 24)
    this.u8(value >>> 16)
    this.u8(value >>> 8)
    this.u8(value)
  }
  u48(field: string, value: number) {
    const high = Math.floor(value / 2 ** 32)
    if (high !== (high & 0xffff) || !Number.isInteger(value)) throw this.#unfit(field, 'is no number of 48 bits')
    this.u16(field, high)
    this.u32(field, value % 2 ** 32)
  }
  /** The place of a word in its table. */
  word(field: string, table: readonly string[], word: string) {
    const index = table.indexOf(word)
    if (index < 0) throw this.#unfit(field, 'is none of its words')
    this.u8(index)
  }
  session(text: string) {
    if (!isSession(text)) throw this.#unfit('session', 'is no session: 16 hex digits')
    for (let i = 0; i < 16; i += 2) this.u8(Number.parseInt(text.slice(i, i + 2), 16))
  }
  length(field: string, text: string) {
    if (text.length > 255) throw this.#unfit(field, 'has more than 255 characters')
    this.u8(text.length)
  }
  name(field: string, text: string) {
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i)
      if (code < 0x20 || code > 0x7e) throw this.#unfit(field, 'is no name of printable ASCII')
      this.u8(code)
    }
  }
  raw(bytes: Uint8Array) {
    this.bytes.set(bytes, this.#at)
    this.#at += bytes.length
  }
  #unfit(field: string, why: string): Error {
    return damonError('bad_field', `${this.#type}.${field}: ${why}.`, { field })
  }
}

class Reader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }
  u8(): number {
    const value = this.#bytes[this.#at++]
    if (value === undefined) throw damonError('bad_frame', 'The frame is too short.')
    return value
  }
  u16(): number {
    return this.u8() * 0x100 + this.u8()
  }
  u32(): number {
    return this.u16() * 0x10000 + this.u16()
  }
  u48(): number {
    return this.u16() * 2 ** 32 + this.u32()
  }
  hex(): string {
    let text = ''
    for (let i = 0; i < 8; i++) text += this.u8().toString(16).padStart(2, '0')
    return text
  }
  ascii(length: number): string {
    let text = ''
    for (let i = 0; i < length; i++) {
      const byte = this.u8()
      if (byte < 0x20 || byte > 0x7e)
        throw damonError('bad_frame', 'A name holds a character that is not printable ASCII.')
      text += String.fromCharCode(byte)
    }
    return text
  }
  raw(length: number): Uint8Array {
    if (this.#at + length > this.#bytes.length) throw damonError('bad_frame', 'The frame is too short.')
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }
  rest(): Uint8Array {
    return this.#bytes.subarray(this.#at)
  }
}

function flags(frame: {
  again?: boolean
  any?: boolean
  bytes?: boolean
  late?: boolean
  request?: unknown
  idempotent?: boolean | undefined
}): number {
  return (
    (frame.again ? flag.again : 0) |
    (frame.any ? flag.any : 0) |
    (frame.bytes ? flag.bytes : 0) |
    (frame.late ? flag.late : 0) |
    (frame.request === true ? flag.request : 0) |
    (frame.idempotent ? flag.idempotent : 0)
  )
}

function encodeSend(frame: SendFrame | RequestFrame): Uint8Array {
  const request = frame.type === 'request'
  const size = (request ? sizes.request : sizes.send) + frame.to.length + frame.event.length + frame.payload.length
  const out = new Writer(frame.type, size)
  out.u8(frameNumbers.client[frame.type])
  const idempotent = request && frame.idempotent
  out.u8(flags({ again: frame.again, any: frame.any, bytes: frame.bytes, idempotent }))
  out.u32('number', frame.number)
  if (request) {
    out.u32('deadline', frame.deadline)
    out.u16('quorum', frame.quorum)
  }
  out.length('to', frame.to)
  out.length('event', frame.event)
  out.name('to', frame.to)
  out.name('event', frame.event)
  out.raw(frame.payload)
  return out.bytes
}

function encodeReply(frame: ReplyFrame | ClientPartFrame): Uint8Array {
  const code = frame.type === 'reply' ? frame.code : ''
  const out = new Writer(frame.type, sizes.reply + code.length + frame.payload.length)
  out.u8(frameNumbers.client[frame.type])
  out.u8(flags({ again: frame.again, bytes: frame.bytes }))
  out.u32('number', frame.number)
  if (frame.type === 'reply') out.word('verdict', replyVerdicts, frame.verdict)
  else out.u8(0)
  out.length('code', code)
  out.session(frame.session)
  out.u32('request', frame.request)
  out.name('code', code)
  out.raw(frame.payload)
  return out.bytes
}

function encodeMessage(frame: MessageFrame, headroom: number, allocate: Allocate): Uint8Array {
  const size = sizes.message + frame.to.length + frame.from.length + frame.event.length + frame.payload.length
  const out = new Writer(frame.type, size, headroom, allocate)
  out.u8(frameNumbers.hub.message)
  out.u8(flags(frame))
  out.u32('origin', frame.origin)
  out.u48('seq', frame.seq)
  out.u32('number', frame.number)
  out.session(frame.session)
  out.u32('deadline', frame.deadline)
  out.length('to', frame.to)
  out.length('from', frame.from)
  out.length('event', frame.event)
  out.name('to', frame.to)
  out.name('from', frame.from)
  out.name('event', frame.event)
  out.raw(frame.payload)
  return out.bytes
}

function encodeVerdict(frame: VerdictFrame | HubPartFrame, headroom: number, allocate: Allocate): Uint8Array {
  const code = frame.type === 'verdict' ? frame.code : ''
  const size = sizes.verdict + code.length + frame.from.length + frame.payload.length
  const out = new Writer(frame.type, size, headroom, allocate)
  out.u8(frameNumbers.hub[frame.type])
  out.u8(flags({ again: frame.again, bytes: frame.bytes, late: frame.late }))
  out.u32('origin', frame.origin)
  out.u48('seq', frame.seq)
  out.u32('number', frame.number)
  out.u32('request', frame.request)
  out.session(frame.session)
  if (frame.type === 'verdict') out.word('verdict', verdicts, frame.verdict)
  else out.u8(0)
  out.length('code', code)
  out.length('from', frame.from)
  out.name('code', code)
  out.name('from', frame.from)
  out.raw(frame.payload)
  return out.bytes
}

function encodeControl(
  side: Side,
  frame: ClientControlFrame | HubControlFrame,
  headroom = 0,
  allocate = allocateNew,
): Uint8Array {
  const { type, payload = nothing, ...fields } = frame as { type: string; payload?: Uint8Array | undefined }
  const numbers: Record<string, number> = frameNumbers[side]
  const number = Object.hasOwn(numbers, type) ? numbers[type] : undefined
  if (number === undefined) throw damonError('bad_frame', `Unknown frame type ${JSON.stringify(type)}.`)
  checkPayload(side, frame, payload)
  const meta = encoder.encode(JSON.stringify(fields))
  const out = new Writer(type, sizes.control + meta.length + payload.length, headroom, allocate)
  out.u8(number)
  out.u8(0)
  out.u32('length', meta.length)
  out.raw(meta)
  out.raw(payload)
  return out.bytes
}

/**
 * Encodes a client's frame as `damon.v1`.
 * @throws DamonError `bad_field` for what does not fit its place
 */
export function encodeClientFrame(frame: ClientFrame): Uint8Array {
  if (frame.type === 'send' || frame.type === 'request') return encodeSend(frame)
  if (frame.type === 'reply' || frame.type === 'part') return encodeReply(frame)
  return encodeControl('client', frame)
}

/**
 * Encodes a frame of the hub as `damon.v1`, behind `headroom` unused bytes for the WebSocket header.
 * @throws DamonError `bad_field` for what does not fit its place
 */
export function encodeHubFrame(frame: HubFrame, headroom = 0, allocate: Allocate = allocateNew): Uint8Array {
  if (frame.type === 'message') return encodeMessage(frame, headroom, allocate)
  if (frame.type === 'verdict' || frame.type === 'part') return encodeVerdict(frame, headroom, allocate)
  const compact = frame.type === 'ack' ? encodeAck(frame, headroom, allocate) : undefined
  return compact ?? encodeControl('hub', frame, headroom, allocate)
}

/**
 * An acknowledgement of numbered frames is as frequent as they are, so it alone among the control frames has a fixed
 * form; undefined for one that says anything else.
 */
function encodeAck(
  frame: Extract<HubFrame, { type: 'ack' }>,
  headroom: number,
  allocate: Allocate,
): Uint8Array | undefined {
  const { type, number, origin, seq, ...rest } = frame
  if (number === undefined || origin === undefined || seq === undefined) return undefined
  if (Object.values(rest).some((field) => field !== undefined)) return undefined
  const out = new Writer(type, sizes.ack, headroom, allocate)
  out.u8(frameNumbers.hub.ack)
  out.u8(flag.compact)
  out.u32('number', number)
  out.u32('origin', origin)
  out.u48('seq', seq)
  return out.bytes
}

function decodeControl(side: Side, type: string, input: Reader): Record<string, unknown> {
  const meta = input.raw(input.u32())
  const payload = input.rest()
  let fields: unknown
  try {
    fields = JSON.parse(decoder.decode(meta))
  } catch (cause) {
    throw damonError('bad_frame', `The fields of ${type} are not JSON.`, { cause })
  }
  return checkControl(side, type, fields, payload)
}

/**
 * Decodes a client's `damon.v1` frame. The payload is a view on the input.
 * @throws DamonError `bad_frame` or `bad_field`
 */
export function decodeClientFrame(bytes: Uint8Array): ClientFrame {
  const input = new Reader(bytes)
  const number = input.u8()
  const type = typeNames.client[number]
  const bits = input.u8()
  const again = (bits & flag.again) !== 0
  const binary = (bits & flag.bytes) !== 0
  if (type === 'send' || type === 'request') {
    const any = (bits & flag.any) !== 0
    const sendNumber = input.u32()
    const idempotent = (bits & flag.idempotent) !== 0
    const wants = type === 'request' ? { idempotent, deadline: input.u32(), quorum: input.u16() } : undefined
    const toLength = input.u8()
    const eventLength = input.u8()
    const to = input.ascii(toLength)
    const event = input.ascii(eventLength)
    const common = { number: sendNumber, again, any, bytes: binary, to, event, payload: input.rest() }
    return wants ? { type: 'request', ...common, ...wants } : { type: 'send', ...common }
  }
  if (type === 'reply' || type === 'part') {
    const replyNumber = input.u32()
    const verdict = replyVerdicts[input.u8()]
    const codeLength = input.u8()
    const session = input.hex()
    const request = input.u32()
    const code = input.ascii(codeLength)
    const common = { number: replyNumber, again, bytes: binary, session, request, payload: input.rest() }
    if (type === 'part') return { type, ...common }
    if (verdict === undefined)
      throw damonError('bad_field', 'reply.verdict: is none a receiver may give.', { field: 'verdict' })
    return { type, ...common, verdict, code }
  }
  if (type === undefined) throw damonError('bad_frame', `Unknown frame type ${number}.`)
  return decodeControl('client', type, input) as unknown as ClientFrame
}

/**
 * Decodes a frame of the hub from `damon.v1`. The payload is a view on the input.
 * @throws DamonError `bad_frame` or `bad_field`
 */
export function decodeHubFrame(bytes: Uint8Array): HubFrame {
  const input = new Reader(bytes)
  const number = input.u8()
  const type = typeNames.hub[number]
  const bits = input.u8()
  const again = (bits & flag.again) !== 0
  const binary = (bits & flag.bytes) !== 0
  const late = (bits & flag.late) !== 0
  if (type === 'message') {
    const head = {
      origin: input.u32(),
      seq: input.u48(),
      number: input.u32(),
      session: input.hex(),
      deadline: input.u32(),
    }
    const toLength = input.u8()
    const fromLength = input.u8()
    const eventLength = input.u8()
    const to = input.ascii(toLength)
    const from = input.ascii(fromLength)
    const event = input.ascii(eventLength)
    const request = (bits & flag.request) !== 0
    const any = (bits & flag.any) !== 0
    return { type, again, any, bytes: binary, late, request, ...head, to, from, event, payload: input.rest() }
  }
  if (type === 'verdict' || type === 'part') {
    const head = {
      origin: input.u32(),
      seq: input.u48(),
      number: input.u32(),
      request: input.u32(),
      session: input.hex(),
    }
    const verdict = verdicts[input.u8()]
    const codeLength = input.u8()
    const fromLength = input.u8()
    const code = input.ascii(codeLength)
    const from = input.ascii(fromLength)
    const common = { again, bytes: binary, late, ...head, from, payload: input.rest() }
    if (type === 'part') return { type, ...common }
    if (verdict === undefined) throw damonError('bad_field', 'verdict.verdict: is not known.', { field: 'verdict' })
    return { type, ...common, verdict, code }
  }
  if (type === undefined) throw damonError('bad_frame', `Unknown frame type ${number}.`)
  if (type === 'ack' && (bits & flag.compact) !== 0)
    return { type, number: input.u32(), origin: input.u32(), seq: input.u48() }
  return decodeControl('hub', type, input) as unknown as HubFrame
}
