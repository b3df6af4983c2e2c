import { WebSocket } from 'ws'
import type { Dial } from './transport.ts'

/** Dials from Node, by ws. */
export const dial: Dial = ({ url, protocol, ca, lookup, maxBytes }, events) => {
  const socket = new WebSocket(url, [protocol], {
    perMessageDeflate: false,
    maxPayload: maxBytes,
    ...(ca === undefined ? {} : { ca }),
    ...(lookup === undefined ? {} : { lookup }),
  })
  let error: unknown
  socket.on('error', (reason) => {
    error ??= reason
  })
  socket.on('message', (data: Buffer, isBinary) => {
    events.message(isBinary ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : data.toString('utf8'))
  })
  socket.on('close', (code, reason) => events.close(code, reason.toString('utf8'), error))
  return {
    send(data) {
      // The callback takes the error that ws would otherwise throw.
      if (socket.readyState === WebSocket.OPEN) socket.send(data, () => {})
    },
    close() {
      socket.close(1000)
    },
    terminate() {
      socket.terminate()
    },
  }
}
