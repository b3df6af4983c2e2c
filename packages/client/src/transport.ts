import { damonError } from '@damon/protocol/errors'

/** Resolves a host name, as `dns.lookup` of Node does; here in types that browsers have too. */
export type Lookup = (
  hostname: string,
  options: object,
  callback: (error: Error | null, address: string | { address: string; family: number }[], family?: number) => void,
) => void

/** What is dialled, and how. */
export interface DialOptions {
  url: string
  /** The WebSocket sub-protocol. A socket that the hub opens with another one MUST fail. */
  protocol: string
  /** PEM of the authority behind the hub's certificate; browsers ignore it. */
  ca?: string | undefined
  /** Resolves the host name; browsers ignore it. */
  lookup?: Lookup | undefined
  /** A larger message ends the connection. */
  maxBytes: number
}

/** What happens on a socket. */
export interface SocketEvents {
  message(data: Uint8Array | string): void
  /** Exactly once, also when it never opened, and nothing after it. `error` is why, where the platform tells. */
  close(code: number, reason: string, error?: unknown): void
}

/** One WebSocket from the moment it is dialled. None of its methods throws, in any state. */
export interface Socket {
  /** MUST NOT queue before the socket is open; what is sent then or after the end is gone. */
  send(data: Uint8Array | string): void
  /** Begins the closing handshake. */
  close(): void
  /** Ends at once, without a handshake. */
  terminate(): void
}

/** Opens a WebSocket. MUST resolve the host name afresh each time; MAY throw when the URL is none. */
export type Dial = (options: DialOptions, events: SocketEvents) => Socket

/** Checks the URL of a hub: `wss:`, or `ws:` to this very machine. Throws `bad_credential`. */
export function checkHubUrl(text: string): void {
  if (!URL.canParse(text)) throw damonError('bad_credential', `urls: "${text}" is no URL.`, { field: 'urls' })
  const { protocol, hostname } = new URL(text)
  const loopback = hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
  if (protocol !== 'wss:' && !(protocol === 'ws:' && loopback))
    throw damonError('bad_credential', `urls: "${text}" is not a wss: URL.`, { field: 'urls' })
}
