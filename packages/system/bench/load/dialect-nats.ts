import { createPrivateKey, type KeyObject, sign } from 'node:crypto'
import { encodeUserKey } from '../servers/nkey.ts'
import { type Endpoint, payloadBytes } from '../work.ts'
import { copies } from './copies.ts'
import type { Dialect } from './dialect.ts'
import type { Line } from './line.ts'
import { masked, opcodes } from './web-socket.ts'

/** The protocol of NATS inside of WebSocket frames, which hold any number of its messages and cut none. */
export function nats({ identity }: Endpoint): Dialect {
  let key: KeyObject | undefined
  const say = (line: Line, text: string) => line.write(masked(Buffer.from(text), opcodes.binary))
  const publish = (subject: string, reply = '', bytes = payloadBytes) =>
    masked(Buffer.from(`PUB ${subject}${reply} ${bytes}\r\n${'x'.repeat(bytes)}\r\n`), opcodes.binary)
  return {
    path: '/',
    constantBytes: 4,
    read: () => false,
    parser: (line) => (bytes, at) => {
      const end = bytes.indexOf('\r\n', at)
      if (end < 0) return undefined
      const text = bytes.toString('latin1', at, end)
      const size = end + 2 - at
      if (text.startsWith('MSG ')) {
        const length = Number(text.slice(text.lastIndexOf(' ') + 1))
        if (bytes.length < end + 2 + length + 2) return undefined
        line.hearOne?.(Buffer.from(text))
        return { size: size + length + 2, probe: 4 }
      }
      if (text === 'PING') say(line, 'PONG\r\n')
      else if (text.startsWith('-ERR')) throw new Error(text)
      else line.tell(Buffer.from(text))
      return { size, probe: 0 }
    },
    async open(line) {
      if (!identity) throw new Error('No key was given.')
      key ??= createPrivateKey({ key: { ...identity }, format: 'jwk' })
      const info = (await line.next()).toString()
      const { nonce } = JSON.parse(info.slice('INFO '.length)) as { nonce: string }
      const sig = sign(null, Buffer.from(nonce), key).toString('base64url')
      const options = {
        verbose: false,
        pedantic: false,
        echo: false,
        protocol: 1,
        nkey: encodeUserKey(identity.x),
        sig,
      }
      const subscriptions = [...line.pass.groups.map((group) => `group.${group}`), `client.${line.pass.name}`]
      say(line, `CONNECT ${JSON.stringify(options)}\r\n`)
      say(line, `${subscriptions.map((subject, index) => `SUB ${subject} ${index + 1}\r\n`).join('')}PING\r\n`)
      while ((await line.next()).toString() !== 'PONG');
    },
    message: (_line, to, bytes) =>
      copies(publish('group' in to ? `group.${to.group}` : `client.${to.client}`, '', bytes)),
    async request(line, group, members) {
      // One wildcard subscription for all answers, as NATS clients have it.
      say(line, `SUB inbox.${line.pass.name}.* 9\r\nPING\r\n`)
      while ((await line.next()).toString() !== 'PONG');
      let count = 0
      return () => {
        const { promise, resolve } = Promise.withResolvers<void>()
        let missing = members
        line.hearOne = () => {
          if (--missing === 0) resolve()
        }
        line.write(publish(`group.${group}`, ` inbox.${line.pass.name}.${String(++count).padStart(8, '0')}`))
        return promise
      }
    },
    answer(line) {
      line.hearOne = (head) => line.write(publish(head.toString().split(' ')[3] ?? ''))
    },
  }
}
