import { isIPv4 } from 'node:net'

/** The record types that the test server knows (RFC 1035, 3.2.2; AAAA: RFC 3596). */
export const recordTypes = { A: 1, NS: 2, CNAME: 5, SOA: 6, TXT: 16, AAAA: 28 } as const
export type RecordType = keyof typeof recordTypes

/** One record; its data is an address, a name, or the text of a TXT value. Of an SOA it is the first server's name. */
export interface ResourceRecord {
  name: string
  type: RecordType
  data: string
}

/** What somebody asks. */
export interface Question {
  id: number
  name: string
  /** Nothing for a type that is not in the table. */
  type: RecordType | undefined
  /** The question as it came, to be repeated. */
  raw: Buffer
  wantsRecursion: boolean
}

/** What is answered: a response code (RFC 1035, 4.1.1) and records. */
export interface Reply {
  code: 0 | 2 | 3 | 5
  answers: readonly ResourceRecord[]
  authority?: readonly ResourceRecord[]
}

const ttl = 30
/** The most that fits into a UDP answer without EDNS. */
const udpBytes = 512

/** Reads the one question of a message; nothing if it is none. */
export function readQuestion(message: Buffer): Question | undefined {
  if (message.length < 17 || message.readUInt16BE(4) !== 1) return undefined
  const labels: string[] = []
  let position = 12
  for (let length = message[position]!; length > 0; length = message[position] ?? 0) {
    labels.push(message.toString('latin1', position + 1, position + 1 + length))
    position += 1 + length
  }
  const number = message.readUInt16BE(position + 1)
  const type = (Object.keys(recordTypes) as RecordType[]).find((name) => recordTypes[name] === number)
  return {
    id: message.readUInt16BE(0),
    name: labels.join('.').toLowerCase(),
    type,
    raw: message.subarray(12, position + 5),
    wantsRecursion: (message.readUInt16BE(2) & 0x0100) !== 0,
  }
}

/** Writes an answer; one that does not fit into a datagram says so, and the asker comes back over TCP. */
export function writeReply(question: Question, reply: Reply, transport: 'udp' | 'tcp'): Buffer {
  const { answers, authority = [], code } = reply
  const full = write(question, code, answers, authority, false)
  return transport === 'udp' && full.length > udpBytes ? write(question, code, [], [], true) : full
}

function write(
  { id, raw, wantsRecursion }: Question,
  code: number,
  answers: readonly ResourceRecord[],
  authority: readonly ResourceRecord[],
  truncated: boolean,
): Buffer {
  const header = Buffer.alloc(12)
  header.writeUInt16BE(id, 0)
  // Answer, authoritative; recursion is "available" so that the same server can stand for a resolver.
  header.writeUInt16BE(0x8480 | (truncated ? 0x0200 : 0) | (wantsRecursion ? 0x0100 : 0) | code, 2)
  header.writeUInt16BE(1, 4)
  header.writeUInt16BE(answers.length, 6)
  header.writeUInt16BE(authority.length, 8)
  return Buffer.concat([header, raw, ...answers.map(writeRecord), ...authority.map(writeRecord)])
}

function writeRecord({ name, type, data }: ResourceRecord): Buffer {
  const content = writeData(type, data)
  const fixed = Buffer.alloc(10)
  fixed.writeUInt16BE(recordTypes[type], 0)
  fixed.writeUInt16BE(1, 2)
  fixed.writeUInt32BE(ttl, 4)
  fixed.writeUInt16BE(content.length, 8)
  return Buffer.concat([writeName(name), fixed, content])
}

function writeData(type: RecordType, data: string): Buffer {
  if (type === 'A') return Buffer.from(data.split('.').map(Number))
  if (type === 'AAAA') return ipv6(data)
  if (type === 'TXT') return texts(data)
  if (type !== 'SOA') return writeName(data)
  const numbers = Buffer.alloc(20)
  for (const [index, value] of [1, 3600, 600, 86_400, ttl].entries()) numbers.writeUInt32BE(value, index * 4)
  return Buffer.concat([writeName(data), writeName(`hostmaster.${data}`), numbers])
}

function writeName(name: string): Buffer {
  const labels = name.split('.').filter((label) => label !== '')
  return Buffer.concat([...labels.map((label) => Buffer.from([label.length, ...Buffer.from(label)])), Buffer.of(0)])
}

/** A text of any length is cut into strings of at most 255 bytes. */
function texts(text: string): Buffer {
  const bytes = Buffer.from(text)
  const parts: Buffer[] = []
  for (let start = 0; start === 0 || start < bytes.length; start += 255) {
    const part = bytes.subarray(start, start + 255)
    parts.push(Buffer.from([part.length]), part)
  }
  return Buffer.concat(parts)
}

function ipv6(text: string): Buffer {
  if (isIPv4(text)) throw new TypeError(`${text} is no IPv6 address`)
  const [left = '', right] = text.split('::')
  const words = (part: string) => part.split(':').filter((word) => word !== '')
  const tail = right === undefined ? [] : words(right)
  const zeros = Array<string>(8 - words(left).length - tail.length).fill('0')
  const bytes = Buffer.alloc(16)
  for (const [index, word] of [...words(left), ...zeros, ...tail].entries()) {
    bytes.writeUInt16BE(Number.parseInt(word, 16), index * 2)
  }
  return bytes
}
