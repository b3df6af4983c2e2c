import { type Endpoint, payloadBytes } from '../work.ts'
import { copies } from './copies.ts'
import type { Dialect } from './dialect.ts'
import { masked, opcodes } from './web-socket.ts'

const payload = 'x'.repeat(payloadBytes)

/** Engine.IO 4 over WebSocket only, with Socket.IO 5 on it: `0` open, `2` ping, `4x` packets. */
export function socketIo(_endpoint: Endpoint): Dialect {
  const text = (content: string) => masked(Buffer.from(content), opcodes.text)
  const pong = text('3')
  return {
    path: '/socket.io/?EIO=4&transport=websocket',
    // 42[" of an event without acknowledgement.
    constantBytes: 4,
    read(line, bytes) {
      if (bytes.length === 1 && bytes[0] === 0x32) {
        line.write(pong)
        return false
      }
      if (bytes[0] !== 0x34) {
        line.tell(bytes)
        return false
      }
      if (bytes[1] === 0x34 || bytes[1] === 0x31) throw new Error(bytes.toString())
      if (bytes[1] === 0x32) return true
      line.tell(bytes)
      return false
    },
    async open(line) {
      await line.next()
      line.write(text(`40${JSON.stringify({ token: line.pass.token })}`))
      await line.next()
      line.write(text(`420${JSON.stringify(['join', line.pass.groups])}`))
      await line.next()
    },
    message(_line, to, bytes = payloadBytes) {
      const room = 'group' in to ? to.group : to.client
      return copies(text(`42${JSON.stringify(['send', room, 'x'.repeat(bytes)])}`))
    },
    async request(line, group, members) {
      let count = 0
      return async () => {
        line.write(text(`42${++count}${JSON.stringify(['ask', group, payload])}`))
        const answer = (await line.next()).toString()
        const [answers] = JSON.parse(answer.slice(answer.indexOf('['))) as [unknown[]]
        if (answers.length !== members) throw new Error(`A request had ${answers.length} answers.`)
      }
    },
    answer(line) {
      line.hearOne = (bytes) => {
        const id = bytes.toString('latin1', 2, bytes.indexOf('['))
        line.write(text(`43${id}${JSON.stringify([payload])}`))
      }
    },
  }
}
