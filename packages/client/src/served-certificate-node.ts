import type { AddressInfo } from 'node:net'
import { type ConnectionOptions, connect, createSecureContext, type SecureContext } from 'node:tls'
import { damonError } from '@damon/protocol/errors'

/** Where a TLS server is reached: a TCP port of this or another machine, or a Unix socket. */
export type ServerAddress = { host: string; port: number } | { path: string }

const handshakeMs = 10_000
/** It holds nothing of a handshake's own, and is half of the work of one. */
let ownContext: SecureContext | undefined

/** Where a listening server can be reached from its own machine, given what its `address()` says; nothing while it does not listen. */
export function ownAddress(address: AddressInfo | string | null): ServerAddress | undefined {
  if (address === null) return undefined
  if (typeof address === 'string') return { path: address }
  const any: Record<string, string> = { '::': '::1', '0.0.0.0': '127.0.0.1' }
  return { host: any[address.address] ?? address.address, port: address.port }
}

/** The name to ask a server for, so that it chooses the certificate with these names: the first DNS name, a wildcard filled in. */
export function serverName(names: readonly string[]): string | undefined {
  return names.find((name) => /[a-z]/i.test(name) && !name.includes(':'))?.replace(/^\*\./, 'any.')
}

/**
 * The fingerprint (SHA-256, hex) of the certificate that a server shows in a new handshake. Whether it is trusted does not
 * matter: nothing is sent. Rejects when there is no handshake within 10 s.
 */
export function servedFingerprint(address: ServerAddress, servername?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    ownContext ??= createSecureContext()
    const options: ConnectionOptions = { ...address, rejectUnauthorized: false, secureContext: ownContext }
    if (servername !== undefined) options.servername = servername
    const socket = connect(options)
    socket.setTimeout(handshakeMs, () => socket.destroy(damonError('timed_out', 'The TLS handshake hangs.')))
    socket.once('secureConnect', () => {
      const certificate = socket.getPeerX509Certificate()
      socket.destroy()
      if (certificate) resolve(certificate.fingerprint256.replaceAll(':', '').toLowerCase())
      else reject(damonError('bad_envelope', 'The server shows no certificate.'))
    })
    socket.once('error', reject)
    socket.once('close', () => reject(damonError('disconnected', 'The server closed the connection.')))
  })
}
