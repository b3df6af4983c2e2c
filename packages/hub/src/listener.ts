import { createServer as createPlainServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import { isIPv6 } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Codec } from '@damon/protocol/frames'
import { subprotocols } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { WebSocketServer } from 'ws'
import { HubSocket } from './hub-socket.ts'

/** A connection after its upgrade. */
export interface Connection {
  ws: HubSocket
  socket: Duplex
  codec: Codec
  /** As the hub sees it; IPv4 in its own form. */
  address: string
}

const codecs = new Map<string, Codec>([
  [subprotocols.binary, 'binary'],
  [subprotocols.json, 'json'],
])

/** What every TLS context of the hub has beside its certificate. */
export const contextOptions = { minVersion: 'TLSv1.2' } as const

/** A worker's two doors; the plain one MUST listen on loopback only. */
export interface Listeners {
  tls: TlsServer
  plain: Server
}

/**
 * The servers of one worker. Anything but an upgrade to one of the sub-protocols gets a plain HTTP refusal.
 * `origins` are the pages that browsers may connect from.
 */
export function createListeners(options: {
  cert: string
  key: string
  frameBytes: number
  origins: readonly string[]
  connect: (connection: Connection) => void
}): Listeners {
  const { cert, key, frameBytes, origins } = options
  const webSockets = new WebSocketServer({
    noServer: true,
    WebSocket: HubSocket,
    autoPong: false,
    perMessageDeflate: false,
    clientTracking: false,
    maxPayload: frameBytes,
    maxFragments: limits.fragments,
    maxBufferedChunks: limits.bufferedChunks,
    handleProtocols: (offered) => [...offered].find((name) => codecs.has(name)) ?? false,
  })
  const explain: RequestListener = (_, response) => {
    response.writeHead(426, { 'content-type': 'text/plain', upgrade: 'websocket', connection: 'close' })
    response.end('This is a Damon hub. It speaks WebSocket only.\n')
  }
  const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', destroy)
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
    const codec = offered.map((name) => codecs.get(name)).find((known) => known !== undefined)
    const { origin } = request.headers
    if (codec === undefined) return refuse(socket, '400 Bad Request', `Offer ${[...codecs.keys()].join(' or ')}.`)
    if (origin !== undefined && !origins.includes(origin))
      return refuse(socket, '403 Forbidden', 'This origin is not listed.')
    if (head.length > limits.helloBytes) return refuse(socket, '413 Content Too Large', 'The first frame is too large.')
    const address = plainAddress(request.socket.remoteAddress ?? '')
    webSockets.handleUpgrade(request, socket, head, (ws) => options.connect({ ws, socket, codec, address }))
  }
  const http = { headersTimeout: limits.helloMs, connectionsCheckingInterval: 1_000, maxHeaderSize: 8 * 1024 }
  const secure = { cert, key, ...contextOptions, handshakeTimeout: limits.helloMs }
  const tls = createTlsServer({ ...http, ...secure }, explain)
  // Without a listener an error of a handshake or of an upgrading socket would end the worker.
  tls.on('tlsClientError', (_, socket) => socket.destroy())
  const plain = createPlainServer(http, explain)
  for (const server of [tls, plain]) server.on('upgrade', upgrade)
  return { tls, plain }
}

function destroy(this: Duplex): void {
  this.destroy()
}

function refuse(socket: Duplex, status: string, text: string): void {
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: ${text.length + 1}\r\n\r\n${text}\n`,
  )
}

function plainAddress(address: string): string {
  return isIPv6(address) && address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}
