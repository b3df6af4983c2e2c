import { damonError } from '@damon/protocol/errors'
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core'
import { base64url } from 'jose'
import * as z from 'zod/mini'
import { parseCapabilities } from './capabilities.ts'
import { type PrivateJwk, publicJwk } from './keys.ts'
import { type Reader, wrapped } from './reader.ts'
import { type SignedKind, sign, verify } from './signed.ts'
import { boundKey, type TokenClaims, verifyToken } from './token.ts'
import type { TrustList } from './trust-list.ts'

/** RFC 9180: KEM 0x0020, KDF 0x0001, AEAD 0x0002. */
const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() })
const info = new TextEncoder().encode('damon-cert-v1')

const payload = z.object({
  aud: z.string(),
  /** SERVICE/READER */
  reader: z.string(),
  /** Id of the certificate. */
  cert: z.string(),
  /** Counts deliveries, grows with each: Unix ms, or one more than the last. */
  version: z.number().check(z.int(), z.positive()),
  /** SHA-256 of the leaf's DER, hex. */
  fingerprint: z.string().check(z.regex(/^[0-9a-f]{64}$/)),
  /** HPKE's encapsulated key. */
  enc: publicJwk.shape.x,
  /** Ciphertext of key and chain. */
  ct: z.string().check(z.regex(/^[A-Za-z0-9_-]+$/)),
  /** The certifier's token; its `cnf` key signs this envelope. */
  token: z.string(),
})
type Payload = z.infer<typeof payload>

const contents = z.object({ key: z.string(), chain: z.string() })

const kind = {
  typ: 'damon-cert+jwt',
  maxBytes: 60 * 1024,
  payload,
  code: 'bad_envelope',
} as const satisfies SignedKind<typeof payload>

/** A certificate and its key as they lie in an envelope, both PEM; the chain begins with the leaf. */
export interface CertificatePair {
  key: string
  chain: string
}

/** What a reader took out of an envelope. */
export interface OpenedCertificate extends CertificatePair {
  /** SHA-256 of the leaf's DER, hex. */
  fingerprint: string
  version: number
}

/** Key of the record that holds an envelope. */
export function envelopeKey(reader: { name: string }, id: string): string {
  return `cert/${reader.name}/${id}`
}

/** The version of a delivery made now (Unix ms) after the last one: grows even if the clock or the store went back. */
export function nextVersion(last: number, now: number): number {
  return Math.max(last + 1, now)
}

/** Seals a certificate to one verified reader and signs the envelope with the certifier's identity key. Throws `bad_envelope`. */
export async function sealCertificate(
  { key, chain }: CertificatePair,
  {
    reader,
    id,
    version,
    aud,
    token,
    identity,
  }: {
    reader: { name: string; publicKey: string }
    id: string
    version: number
    aud: string
    token: string
    identity: PrivateJwk
  },
): Promise<string> {
  const envelope = { aud, reader: reader.name, cert: id, version, fingerprint: await leafFingerprint(chain) }
  const recipientPublicKey = await suite.kem.deserializePublicKey(base64url.decode(reader.publicKey))
  const plaintext = new TextEncoder().encode(JSON.stringify({ key, chain }))
  const { enc, ct } = await suite.seal({ recipientPublicKey, info }, plaintext, associatedData(envelope))
  return sign(
    kind,
    { ...envelope, enc: base64url.encode(new Uint8Array(enc)), ct: base64url.encode(new Uint8Array(ct)), token },
    identity,
  )
}

/**
 * Opens an envelope: sealed for this reader and certificate by someone whose token, under this trust list, may issue it,
 * and with a version above `after` (0: any). `now` is Unix ms. Pair, chain, names and dates remain to be checked.
 * Throws `bad_envelope` or `stale_envelope`.
 */
export async function openCertificate(
  jws: string,
  {
    reader,
    id,
    aud,
    trust,
    now,
    after,
  }: { reader: Reader; id: string; aud: string; trust: TrustList; now: number; after: number },
): Promise<OpenedCertificate> {
  let claims: TokenClaims | undefined
  const envelope = await verify(kind, jws, async ({ token }) => {
    claims = await wrapped('bad_envelope', () => verifyToken(token, trust, { aud, now }))
    const identity = boundKey(claims)
    if (!identity) throw damonError('bad_envelope', 'Its token is not bound to a key.', { field: 'token' })
    return identity
  })
  if (!claims || !parseCapabilities(claims.can, claims.sub).may('issue', id)) {
    throw damonError('bad_envelope', 'Its sender may not issue this certificate.', { field: 'token' })
  }
  for (const [field, expected] of [
    ['aud', aud],
    ['reader', reader.name],
    ['cert', id],
  ] as const) {
    if (envelope[field] !== expected) throw damonError('bad_envelope', `It is for another ${field}.`, { field })
  }
  if (envelope.version <= after) throw damonError('stale_envelope', undefined, { field: 'version' })
  const pair = await unseal(envelope, reader)
  if ((await leafFingerprint(pair.chain)) !== envelope.fingerprint) {
    throw damonError('bad_envelope', 'The leaf has another fingerprint.', { field: 'fingerprint' })
  }
  return { ...pair, fingerprint: envelope.fingerprint, version: envelope.version }
}

/** The chain that was read last: certs seals the same one for each of its readers. */
let lastRead: { chain: string; fingerprint: string } | undefined

/** SHA-256 of the DER of a chain's first certificate, hex. Throws `bad_envelope` when there is none. */
export async function leafFingerprint(chain: string): Promise<string> {
  if (chain !== lastRead?.chain) lastRead = { chain, fingerprint: await readFingerprint(chain) }
  return lastRead.fingerprint
}

async function readFingerprint(chain: string): Promise<string> {
  const [, body] = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/.exec(chain) ?? []
  let der: Uint8Array<ArrayBuffer>
  try {
    der = Uint8Array.from(atob(body ?? '!'), (char) => char.charCodeAt(0))
  } catch (cause) {
    throw damonError('bad_envelope', 'There is no certificate in the chain.', { field: 'chain', cause })
  }
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', der))
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

async function unseal(envelope: Payload, reader: Reader): Promise<CertificatePair> {
  let plaintext: ArrayBuffer
  try {
    plaintext = await suite.open(
      { recipientKey: reader.keys, enc: base64url.decode(envelope.enc), info },
      base64url.decode(envelope.ct),
      associatedData(envelope),
    )
  } catch (cause) {
    throw damonError('bad_envelope', 'It does not open with this key.', { field: 'ct', cause })
  }
  try {
    return contents.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(plaintext)))
  } catch {
    // No cause: the engine's message quotes the text, which holds a private key.
    throw damonError('bad_envelope', 'It does not hold a key and a chain.', { field: 'ct' })
  }
}

function associatedData({
  aud,
  reader,
  cert,
  version,
  fingerprint,
}: Omit<Payload, 'enc' | 'ct' | 'token'>): Uint8Array {
  return new TextEncoder().encode([aud, reader, cert, version, fingerprint].join('\n'))
}
