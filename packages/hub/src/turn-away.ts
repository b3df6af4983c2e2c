import { closes } from '@damon/protocol/closes'
import { encodeHubFrame } from '@damon/protocol/codec-binary'
import { encodeHubText } from '@damon/protocol/codec-json'
import { damonError } from '@damon/protocol/errors'
import type { HubFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import type { Connection } from './listener.ts'

/** How long a peer that is turned away may take to hang up, ms. */
const patienceMs = 2_000

/** Tells a client that there is no room for it now, and hangs up: nothing of a session is made. */
export function turnAway({ ws, codec }: Pick<Connection, 'ws' | 'codec'>): void {
  const { code, message, retry } = damonError('overloaded', 'This worker has no memory left for more sessions.')
  const frame: HubFrame = { type: 'error', code, message, retry, retryAfterMs: limits.retryAfterMs }
  ws.on('error', () => undefined)
  ws.send(codec === 'json' ? encodeHubText(frame) : encodeHubFrame(frame))
  ws.close(closes.overloaded.code, 'overloaded' satisfies keyof typeof closes)
  const timer = setTimeout(() => ws.terminate(), patienceMs)
  ws.once('close', () => clearTimeout(timer))
}
