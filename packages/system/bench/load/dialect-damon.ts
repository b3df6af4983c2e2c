import { decodeHubFrame, encodeClientFrame } from '@damon/protocol/codec-binary'
import { frameNumbers, type HubFrame, subprotocols } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { prove } from '@damon/trust/proof'
import { readToken } from '@damon/trust/token'
import { type Endpoint, payloadBytes } from '../work.ts'
import type { Dialect } from './dialect.ts'
import type { Line } from './line.ts'
import { masked, opcodes, overwriteU32, payloadAt } from './web-socket.ts'

const types = frameNumbers.hub
const service = 'bench'
const payloadOf = (bytes: number) => Buffer.alloc(bytes, 'x')
const payload = payloadOf(payloadBytes)
/** Where numbered frames of a client have their number (codec-binary.ts). */
const numberAt = 2
/** Where a message has the number and the session of its sender. */
const sentNumberAt = 12
const senderAt = 16

/** The subject of a client. */
export function subjectOf(name: string): string {
  return `${service}/${name}`
}

/** `damon.v1`, with everything that the hub asks of a client: proof, numbers, heartbeats. */
export function damon({ identity }: Endpoint): Dialect {
  return {
    path: '/',
    protocol: subprotocols.binary,
    constantBytes: 1,
    heartbeatMs: limits.heartbeatMs,
    heartbeat: () => masked(encodeClientFrame({ type: 'ping', t: 0 }), opcodes.binary),
    read(line, bytes) {
      const type = bytes[0]
      if (type === types.message) return true
      if (type === types.error) {
        const { code, message } = decodeHubFrame(bytes) as Extract<HubFrame, { type: 'error' }>
        throw new Error(`${code}: ${message}`)
      }
      if (type === types.gap || type === types.goaway) throw new Error(`The hub sent ${decodeHubFrame(bytes).type}.`)
      if (type === types.challenge || type === types.welcome || type === types.records || type === types.settled)
        line.tell(bytes)
      return false
    },
    async open(line) {
      const challenge = await frameOf(line, 'challenge')
      const { jti } = readToken(line.pass.token)
      if (!identity) throw new Error('No key was given.')
      const proof = await prove(identity, { nonce: challenge.nonce, host: line.host, jti })
      const { token, groups } = line.pass
      line.write(masked(encodeClientFrame({ type: 'hello', token, proof, version: 'bench', groups }), opcodes.binary))
      const welcome = await frameOf(line, 'welcome')
      const key = `service/${welcome.subject}/${welcome.session}`
      line.write(masked(encodeClientFrame({ type: 'get', id: 1, key }), opcodes.binary))
      const records = await frameOf(line, 'records')
      line.place = (JSON.parse(Buffer.from(records.payload ?? []).toString()) as { worker: number }).worker
    },
    message(line, to, bytes = payloadBytes) {
      const address = 'group' in to ? `group/${to.group}` : `client/${subjectOf(to.client)}`
      return numbered(
        line,
        encodeClientFrame({
          type: 'send',
          number: 0,
          again: false,
          any: false,
          bytes: true,
          to: address,
          event: 'm',
          payload: payloadOf(bytes),
        }),
      )
    },
    async request(line, group, members) {
      const ask = numbered(
        line,
        encodeClientFrame({
          type: 'request',
          number: 0,
          again: false,
          any: false,
          bytes: true,
          to: `group/${group}`,
          event: 'm',
          deadline: 30_000,
          quorum: 0,
          payload,
        }),
      )
      return async () => {
        line.write(ask(1))
        const { tally } = await frameOf(line, 'settled')
        if (tally.answered !== members) throw new Error(`A request settled with ${JSON.stringify(tally)}.`)
      }
    },
    answer(line) {
      line.hearOne = (message) => {
        const reply = encodeClientFrame({
          type: 'reply',
          number: ++line.number,
          again: false,
          bytes: true,
          session: message.toString('hex', senderAt, senderAt + 8),
          request: message.readUInt32BE(sentNumberAt),
          verdict: 'answered',
          code: '',
          payload,
        })
        line.write(masked(reply, opcodes.binary))
      }
    },
  }
}

async function frameOf<Type extends HubFrame['type']>(line: Line, type: Type) {
  const frame = decodeHubFrame(await line.next())
  if (frame.type !== type) throw new Error(`The hub sent ${frame.type} in place of ${type}.`)
  return frame as Extract<HubFrame, { type: Type }>
}

/** Copies of a frame, each with the next number of its session. */
function numbered(line: Line, bytes: Uint8Array): (count: number) => Buffer {
  const frame = masked(bytes, opcodes.binary)
  const start = payloadAt(bytes.length)
  return (count) => {
    const frames = Buffer.allocUnsafe(frame.length * count)
    for (let i = 0; i < count; i++) {
      frame.copy(frames, i * frame.length)
      overwriteU32(frames, i * frame.length, start, numberAt, ++line.number)
    }
    return frames
  }
}
