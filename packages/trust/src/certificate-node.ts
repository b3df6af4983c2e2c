import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { type DamonError, damonError } from '@damon/protocol/errors'

/** What a checked certificate says of itself. */
export interface CheckedPair {
  /** SHA-256 of the leaf's DER, hex. */
  fingerprint: string
  notBefore: Date
  notAfter: Date
  /** DNS names and IP addresses of the leaf. */
  names: string[]
}

/**
 * Checks that a key and a chain (PEM, leaf first) can serve: the pair fits, each certificate is signed by the next,
 * all dates hold at `now` (Unix ms), and every one of `names` is covered (a wildcard by the same wildcard). Whether
 * clients trust the last issuer is theirs to say. Throws `bad_envelope`, naming what is wrong.
 */
export function checkPair({
  key,
  chain,
  names = [],
  now,
}: {
  key: string
  chain: string
  names?: readonly string[]
  now: number
}): CheckedPair {
  const certificates = readChain(chain)
  const [leaf] = certificates
  if (!leaf) throw wrong('There is no certificate in the chain.', 'chain')
  if (!leaf.checkPrivateKey(readKey(key))) throw wrong('The key does not belong to the certificate.', 'key')
  for (const [index, certificate] of certificates.entries()) {
    const position = index === 0 ? 'The leaf' : `Certificate ${index + 1} of the chain`
    if (now < Date.parse(certificate.validFrom)) throw wrong(`${position} is not valid yet.`, 'chain')
    if (now >= Date.parse(certificate.validTo)) throw wrong(`${position} has expired.`, 'chain')
    if (index > 0 && !certificate.ca) throw wrong(`${position} is no authority.`, 'chain')
    const issuer = certificates[index + 1]
    if (issuer && !(certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey))) {
      throw wrong(`${position} is not issued by the next in the chain.`, 'chain')
    }
  }
  const served = subjectNames(leaf)
  const missing = names.find((name) => !covers(leaf, served, name))
  if (missing) throw wrong(`The certificate is not for ${missing}.`, 'names')
  return {
    fingerprint: leaf.fingerprint256.replaceAll(':', '').toLowerCase(),
    notBefore: new Date(leaf.validFrom),
    notAfter: new Date(leaf.validTo),
    names: served,
  }
}

function readChain(chain: string): X509Certificate[] {
  const blocks = chain.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  try {
    return blocks.map((pem) => new X509Certificate(pem))
  } catch (cause) {
    throw wrong('A certificate cannot be read.', 'chain', cause)
  }
}

function readKey(key: string): KeyObject {
  try {
    return createPrivateKey(key)
  } catch (cause) {
    throw wrong('The private key cannot be read.', 'key', cause)
  }
}

function subjectNames({ subjectAltName }: X509Certificate): string[] {
  // A name with a comma or quote inside is printed as a JSON string; no host has one, so none is taken for two.
  const plain = (subjectAltName ?? '').replace(/"(?:[^"\\]|\\.)*"/g, '')
  return plain.split(', ').flatMap((name) => /^(?:DNS|IP Address):(.+)$/.exec(name)?.[1] ?? [])
}

function covers(leaf: X509Certificate, served: string[], name: string): boolean {
  if (isIP(name) !== 0) return leaf.checkIP(name) !== undefined
  if (name.startsWith('*.')) return served.some((other) => other.toLowerCase() === name.toLowerCase())
  return leaf.checkHost(name, { subject: 'never' }) !== undefined
}

function wrong(detail: string, field: string, cause?: unknown): DamonError {
  return damonError('bad_envelope', detail, { field, cause })
}
