import type { CloseName } from '@damon/protocol/closes'
import { WebSocket } from 'ws'

/** What ws finds wrong itself, by its code (RFC 6455, 7.4.1), in the words of our table. */
const faults = new Map<number | undefined, CloseName>([
  [1002, 'bad_frame'],
  [1007, 'bad_frame'],
  [1008, 'too_large'],
  [1009, 'too_large'],
])

/** A WebSocket that lets its owner hang up, by the event `fault`, where ws would with a code of its own. */
export class HubSocket extends WebSocket {
  override close(code?: number, reason?: string | Buffer): void {
    const fault = faults.get(code)
    // With a reason it is the echo of the peer's close frame.
    if (fault === undefined || reason !== undefined || !this.emit('fault', fault)) super.close(code, reason)
  }
}
