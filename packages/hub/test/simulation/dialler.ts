import type { Dial } from '@damon/client/transport'
import { subprotocols } from '@damon/protocol/frames'
import { WebSocket } from 'ws'
import type { Line } from './line.ts'

/** Dials hubs of the simulation: `lay` gives a fresh line to whatever hub answers there, or none. */
export function dialler(lay: (url: string) => Line | undefined): Dial {
  return ({ url, maxBytes }, events) => {
    const line = lay(url)
    const socket = new WebSocket('ws://localhost', [subprotocols.binary], {
      perMessageDeflate: false,
      maxPayload: maxBytes,
      createConnection: () => {
        if (!line) throw new Error('Nobody answers there.')
        return line.near as never
      },
    })
    let error: unknown
    socket.on('error', (reason) => {
      error ??= reason
    })
    socket.on('message', (data: Buffer) =>
      events.message(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
    )
    socket.on('close', (code, reason) => events.close(code, reason.toString('utf8'), error))
    return {
      send(data) {
        if (socket.readyState === WebSocket.OPEN) socket.send(data, () => {})
      },
      close: () => socket.close(1000),
      terminate: () => socket.terminate(),
    }
  }
}
