import { type Endpoint, payloadBytes } from '../work.ts'
import { copies } from './copies.ts'
import type { Dialect } from './dialect.ts'
import { masked, opcodes } from './web-socket.ts'

const payload = 'x'.repeat(payloadBytes)
const message = Buffer.from('{"type":"m"')
const asked = Buffer.from('{"type":"a"')

/** One JSON object in each text frame, as servers/plain-ws-main.ts takes them. */
export function json(_endpoint: Endpoint): Dialect {
  const text = (content: unknown) => masked(Buffer.from(JSON.stringify(content)), opcodes.text)
  return {
    path: '/',
    constantBytes: message.length,
    read(line, bytes) {
      if (bytes.subarray(0, message.length).equals(message) || bytes.subarray(0, asked.length).equals(asked))
        return true
      line.tell(bytes)
      return false
    },
    async open(line) {
      const { token, groups } = line.pass
      line.write(text({ type: 'hello', token, groups }))
      await line.next()
    },
    message: (_line, to, bytes = payloadBytes) =>
      copies(text({ type: 'send', to: 'group' in to ? to.group : to.client, payload: 'x'.repeat(bytes) })),
    async request(line, group, members) {
      return async () => {
        line.write(text({ type: 'ask', to: group, payload }))
        const { answers } = JSON.parse((await line.next()).toString()) as { answers: unknown[] }
        if (answers.length !== members) throw new Error(`A request had ${answers.length} answers.`)
      }
    },
    answer(line) {
      line.hearOne = (bytes) => {
        const { id } = JSON.parse(bytes.toString()) as { id: number }
        line.write(text({ type: 'answer', id, payload }))
      }
    },
  }
}
