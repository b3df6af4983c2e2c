import { createServer as createPlainServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Codec } from '@damon/protocol/frames'
import { subprotocols } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { WebSocketServer } from 'ws'
import { type Addresses, isLoopback } from './addresses.ts'
import { HubSocket } from './hub-socket.ts'
import { behindProxies, type Origin, type Proxies, unixPeer } from './proxies.ts'

/** A connection after its upgrade. */
export interface Connection {
  ws: HubSocket
  socket: Duplex
  codec: Codec
  /** Where it comes from, IPv4 in its own form; `unix` for a Unix socket. */
  address: string
}

const codecs = new Map<string, Codec>([
  [subprotocols.binary, 'binary'],
  [subprotocols.json, 'json'],
])

/** What every TLS context of the hub has beside its certificate. */
export const contextOptions = { minVersion: 'TLSv1.2' } as const

/** A worker's doors; the plain one MUST listen on loopback only. */
export interface Listeners {
  tls: TlsServer
  plain: Server
  /** For a Unix socket, without TLS as well. */
  unix: Server
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
  /** Who says for whom it connects. */
  proxies: Proxies
  addresses: Addresses
  /** Told of each connection that was one too many of its address. */
  refused: () => void
  connect: (connection: Connection) => void
}): Listeners {
  const { cert, key, frameBytes, origins, proxies, addresses } = options
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
  const admit = ({ address, told }: Origin, socket: Socket, server: Server | TlsServer) => {
    // Who is on this machine is no stranger.
    if (!told && (address === unixPeer || isLoopback(address))) return true
    const now = performance.now()
    if (addresses.take(address, now)) return true
    options.refused()
    // To say it in TLS would cost what this saves.
    if (server === tls) socket.destroy()
    else tooMany(socket, addresses.waitMs(address, now))
    return false
  }
  const upgrade = (where: (socket: Socket) => string) => (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', destroy)
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
    const codec = offered.map((name) => codecs.get(name)).find((known) => known !== undefined)
    const { origin } = request.headers
    if (codec === undefined) return refuse(socket, '400 Bad Request', `Offer ${[...codecs.keys()].join(' or ')}.`)
    if (origin !== undefined && !origins.includes(origin))
      return refuse(socket, '403 Forbidden', 'This origin is not listed.')
    if (head.length > limits.helloBytes) return refuse(socket, '413 Content Too Large', 'The first frame is too large.')
    const address = where(request.socket)
    webSockets.handleUpgrade(request, socket, head, (ws) => {
      // From here on ws listens.
      socket.off('error', destroy)
      ws.front(frameBytes)
      options.connect({ ws, socket, codec, address })
    })
  }
  const http = { headersTimeout: limits.helloMs, connectionsCheckingInterval: 1_000, maxHeaderSize: 8 * 1024 }
  const secure = { cert, key, ...contextOptions, handshakeTimeout: limits.helloMs }
  const tls = createTlsServer({ ...http, ...secure }, explain)
  // Without a listener an error of a handshake or of an upgrading socket would end the worker.
  tls.on('tlsClientError', (_, socket) => socket.destroy())
  const [plain, unix] = [createPlainServer(http, explain), createPlainServer(http, explain)]
  for (const server of [tls, plain, unix])
    server.on('upgrade', upgrade(behindProxies(server, proxies, (from, socket) => admit(from, socket, server))))
  return { tls, plain, unix }
}

function destroy(this: Duplex): void {
  this.destroy()
}

function refuse(socket: Duplex, status: string, text: string, header = ''): void {
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: text/plain\r\nconnection: close\r\n${header}content-length: ${text.length + 1}\r\n\r\n${text}\n`,
  )
}

/** Before a request was read: what still comes of it is thrown away, or the answer would be lost with it. */
function tooMany(socket: Socket, waitMs: number): void {
  socket.on('error', destroy)
  const seconds = Math.ceil(waitMs / 1_000)
  refuse(socket, '429 Too Many Requests', 'Too many connections of this address.', `retry-after: ${seconds}\r\n`)
  socket.resume()
  const timer = setTimeout(() => socket.destroy(), limits.helloMs)
  socket.once('close', () => clearTimeout(timer))
}
