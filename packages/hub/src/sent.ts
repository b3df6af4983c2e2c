import { frameNumbers } from '@damon/protocol/frames'
import type { Logged } from './bus.ts'
import { positioned } from './layout.ts'
import { framesOf, payloadOf } from './ws-frame.ts'

const { numberAt, sessionAt } = positioned
const sessionBytes = 8

/** The numbers of a session's own frames that are among these. */
export function sentBy(session: string, logged: readonly Logged[]): Set<number> {
  const id = Buffer.from(session, 'hex')
  const numbers = new Set<number>()
  for (const { batch } of logged)
    for (const frame of framesOf(batch.bytes)) {
      const payload = payloadOf(frame)
      const at = payload[0] === frameNumbers.hub.message ? sessionAt.message : sessionAt.verdict
      if (!isNumbered(payload[0]) || payload.compare(id, 0, sessionBytes, at, at + sessionBytes) !== 0) continue
      const number = payload.readUInt32BE(numberAt)
      // What the hub said for it has none.
      if (number > 0) numbers.add(number)
    }
  return numbers
}

function isNumbered(type: number | undefined): boolean {
  const { message, verdict, part } = frameNumbers.hub
  return type === message || type === verdict || type === part
}
