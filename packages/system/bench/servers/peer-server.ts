import { readFileSync } from 'node:fs'
import { createServer as createPlain, type Server } from 'node:http'
import { createServer as createTls } from 'node:https'
import type { AddressInfo } from 'node:net'
import { nameReader } from './signed-name.ts'

/** An HTTP server as the environment says, for a peer in a process of its own: `TLS_CERT_FILE` and `TLS_KEY_FILE`, or plain. */
export function createPeerServer(): Server {
  const { TLS_CERT_FILE: cert, TLS_KEY_FILE: key } = process.env
  return cert && key ? createTls({ cert: readFileSync(cert), key: readFileSync(key) }) : createPlain()
}

/** Reads the tokens that this peer's clients bring; `NAMES_KEY` is the public key. */
export function peerNames(): (token: string) => string | undefined {
  return nameReader(JSON.parse(process.env.NAMES_KEY ?? 'null'))
}

/** Listens on a free port and says so to the parent; ends with it. */
export function servePeer(server: Server): void {
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address() as AddressInfo
    const url = process.env.TLS_CERT_FILE ? `wss://localhost:${port}` : `ws://127.0.0.1:${port}`
    process.send?.({ ready: { url } })
  })
  process.once('disconnect', () => process.exit(0))
}
