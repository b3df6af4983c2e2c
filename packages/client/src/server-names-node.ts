import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import type { CertificateReader, DeliveredCertificate } from './certificates-node.ts'

/** As `SNICallback` of `node:tls`, `node:https` and `node:http2` takes it. */
export type ServerNameCallback = (
  servername: string,
  callback: (error: Error | null, context?: SecureContext) => void,
) => void

/**
 * For a server with several certificates: the one whose names cover what the client asks for, as it is at that moment;
 * with none, the server's own. `options` are further TLS options of the contexts. Prove each by `reader.prove` when it changes.
 */
export function byServerName(
  readers: readonly Pick<CertificateReader, 'current'>[],
  options: SecureContextOptions = {},
): ServerNameCallback {
  const contexts = new WeakMap<DeliveredCertificate, SecureContext>()
  const contextOf = (certificate: DeliveredCertificate) => {
    const { key, chain } = certificate
    const context = contexts.get(certificate) ?? createSecureContext({ ...options, key, cert: chain })
    contexts.set(certificate, context)
    return context
  }
  return (servername, callback) => {
    try {
      const fitting = readers.find(({ current }) => current?.names.some((name) => covers(name, servername)))?.current
      if (fitting) callback(null, contextOf(fitting))
      else callback(null)
    } catch (error) {
      callback(error as Error)
    }
  }
}

/** Whether a certificate's name is that of the server; a wildcard stands for one label (RFC 6125, 6.4.3). */
function covers(name: string, servername: string): boolean {
  const [wanted, known] = [servername.toLowerCase(), name.toLowerCase()]
  if (!known.startsWith('*.')) return known === wanted
  const dot = wanted.indexOf('.')
  return dot > 0 && wanted.slice(dot) === known.slice(1)
}
