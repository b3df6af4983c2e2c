import type { Dial } from './transport.ts'

/** Dials from a browser, by its own WebSocket: certificate, name resolution and message size are the browser's matter. */
export const dial: Dial = ({ url, protocol }, events) => {
  const socket = new WebSocket(url, [protocol])
  socket.binaryType = 'arraybuffer'
  let ended = false
  const end = (code: number, reason: string, error?: unknown) => {
    if (ended) return
    ended = true
    events.close(code, reason, error)
  }
  socket.addEventListener('message', ({ data }: MessageEvent<string | ArrayBuffer>) => {
    if (!ended) events.message(typeof data === 'string' ? data : new Uint8Array(data))
  })
  socket.addEventListener('close', ({ code, reason }) => end(code, reason))
  return {
    send(data) {
      if (socket.readyState === WebSocket.OPEN) socket.send(data as string | Uint8Array<ArrayBuffer>)
    },
    close() {
      socket.close()
    },
    terminate() {
      // Browsers cannot drop a socket: it closes behind our back, and nothing more of it is heard.
      socket.close()
      queueMicrotask(() => end(1006, ''))
    },
  }
}
