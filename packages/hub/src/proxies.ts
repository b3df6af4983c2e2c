import { BlockList, isIP, type Server, type Socket } from 'node:net'
import { limits } from '@damon/protocol/limits'
import { plainAddress } from './addresses.ts'
import { readProxyHeader } from './proxy-header.ts'

/** What of a peer is known whose connection comes over a Unix socket. */
export const unixPeer = 'unix'

/** Who is trusted to say for whom it connects: addresses, ranges as `10.0.0.0/8`, and `unix` for the Unix socket. */
export class Proxies {
  readonly #list = new BlockList()
  readonly #unix: boolean

  /** @throws Error naming what is neither an address nor a range */
  constructor(names: readonly string[]) {
    this.#unix = names.includes(unixPeer)
    for (const name of names) {
      if (name === unixPeer) continue
      const [address = '', bits] = name.split('/')
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
      if (!isIP(address) || (bits !== undefined && !/^\d{1,3}$/.test(bits)))
        throw new Error(`${name} is neither an address nor a range`)
      if (bits === undefined) this.#list.addAddress(address, family)
      else this.#list.addSubnet(address, Number(bits), family)
    }
  }

  /** Whether this peer's connections begin with a PROXY header. */
  has(peer: string): boolean {
    return peer === unixPeer ? this.#unix : this.#list.check(peer, isIP(peer) === 6 ? 'ipv6' : 'ipv4')
  }
}

/** Where a connection comes from. */
export interface Origin {
  /** Or `unix`. */
  address: string
  /** Whether a proxy told it. */
  told: boolean
}

/** Who is at the other end of a line: an address, or `unix`. */
export function peerOf(socket: Socket): string {
  return socket.remoteAddress === undefined ? unixPeer : plainAddress(socket.remoteAddress)
}

/**
 * Takes the connections of a server before it does: those of proxies only with their header, and all only if `admit` says so.
 * Returns where the connection of a socket comes from, TLS or not.
 */
export function behindProxies(
  server: Server,
  proxies: Proxies,
  admit: (from: Origin, socket: Socket) => boolean,
): (socket: Socket) => string {
  const serve = server.listeners('connection') as ((socket: Socket) => void)[]
  server.removeAllListeners('connection')
  /** By the proxy's end of the line, which a TLS socket and the one below it have in common. */
  const told = new Map<string, string>()
  const byName = new WeakMap<Socket, string>()
  const pass = (socket: Socket, from: Origin) => {
    if (!admit(from, socket)) return
    for (const one of serve) one.call(server, socket)
  }
  server.on('connection', (socket: Socket) => {
    const peer = peerOf(socket)
    if (!proxies.has(peer)) return pass(socket, { address: peer, told: false })
    readHeader(socket, (address) => {
      if (address !== undefined) {
        byName.set(socket, address)
        const line = lineOf(socket)
        if (line !== undefined) {
          told.set(line, address)
          socket.once('close', () => told.delete(line))
        }
      }
      pass(socket, { address: address ?? peer, told: address !== undefined })
    })
  })
  return (socket) => byName.get(socket) ?? told.get(lineOf(socket) ?? '') ?? peerOf(socket)
}

function lineOf({ remoteAddress, remotePort }: Socket): string | undefined {
  return remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort}`
}

/** Takes the header off a connection; one that brings none in time is cut. */
function readHeader(socket: Socket, then: (address: string | undefined) => void): void {
  let begun = Buffer.alloc(0)
  const cut = () => socket.destroy()
  const timer = setTimeout(cut, limits.helloMs)
  const onReadable = () => {
    const chunk: Buffer | null = socket.read()
    if (chunk === null) return
    begun = Buffer.concat([begun, chunk])
    try {
      const header = readProxyHeader(begun)
      if (!header) return
      settle()
      socket.unshift(begun.subarray(header.length))
      then(header.address && plainAddress(header.address))
    } catch {
      settle()
      cut()
    }
  }
  const settle = () => {
    clearTimeout(timer)
    socket.off('readable', onReadable).off('error', cut).off('close', settle).off('end', cut)
  }
  socket.on('readable', onReadable).on('error', cut).on('close', settle).on('end', cut)
}
