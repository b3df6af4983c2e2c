import { DamonError, damonError, type ErrorCode } from '@damon/protocol/errors'
import { isKey, isSegment } from '@damon/protocol/names'
import type { CertReader } from '@damon/protocol/records'
import { base64url } from 'jose'
import * as z from 'zod/mini'
import { parseCapabilities } from './capabilities.ts'
import { type PrivateJwk, publicJwk } from './keys.ts'
import { type SignedKind, sign, verify } from './signed.ts'
import { boundKey, clockSkew, readToken, type TokenClaims, verifyToken } from './token.ts'
import type { TrustList } from './trust-list.ts'

/** How long a statement is good for, seconds; its reader signs a new one in time. */
export const statementTtl = 24 * 3_600

const certificateId = z.string().check(z.refine(isSegment, 'not a name'))

const statement = z.object({
  aud: z.string(),
  /** The reader's token; its `cnf` key signs this statement. */
  token: z.string(),
  /** X25519 public key, raw, base64url. */
  key: publicJwk.shape.x,
  /** Ids of the certificates it wants. */
  wants: z.array(certificateId).check(z.maxLength(64)),
  /** Unix seconds. */
  iat: z.number(),
  /** Unix seconds. */
  exp: z.number(),
})

const receipt = z.object({
  aud: z.string(),
  reader: z.string(),
  /** What the reader's own server was seen to serve, by certificate id. */
  serving: z.record(certificateId, z.object({ fingerprint: z.string(), version: z.number() })),
})

const statementKind = {
  typ: 'damon-reader+jwt',
  maxBytes: 8 * 1024,
  payload: statement,
  code: 'bad_reader',
} as const satisfies SignedKind<typeof statement>

const receiptKind = {
  typ: 'damon-receipt+jwt',
  maxBytes: 16 * 1024,
  payload: receipt,
  code: 'bad_reader',
} as const satisfies SignedKind<typeof receipt>

/** One process that receives certificates: a fresh X25519 key whose private half never leaves WebCrypto. */
export interface Reader {
  /** SERVICE/READER, READER being 16 hex digits of the key's SHA-256. */
  name: string
  /** X25519 public key, raw, base64url. */
  publicKey: string
  keys: CryptoKeyPair
}

/** A reader as certs knows it after verification: seal to this and to nothing else. */
export interface VerifiedReader {
  /** SERVICE/READER */
  name: string
  publicKey: string
  /** Ids it wants and its token allows. */
  wants: string[]
  /** Ids it wants and may not have. */
  denied: string[]
  /** Until when the statement holds, Unix seconds. */
  exp: number
  claims: TokenClaims
}

/** What a reader says it serves, by certificate id: the leaf's fingerprint and the delivery's version. */
export type Serving = z.infer<typeof receipt>['serving']

/** Makes a reader for a service (the first segment of its token's subject). */
export async function createReader(service: string): Promise<Reader> {
  const keys = (await crypto.subtle.generateKey('X25519', false, ['deriveBits'])) as CryptoKeyPair
  const raw = new Uint8Array(await crypto.subtle.exportKey('raw', keys.publicKey))
  return { name: `${service}/${await digest16(raw)}`, publicKey: base64url.encode(raw), keys }
}

/** Key of the record that announces a reader. */
export function readerKey(reader: { name: string }): string {
  return `cert-reader/${reader.name}`
}

/** Signs who reads what with which key. `now` is Unix ms; it holds for 24 hours or until the token ends. Throws `bad_reader`. */
export async function signStatement(
  reader: Reader,
  {
    identity,
    token,
    aud,
    wants,
    now,
  }: { identity: PrivateJwk; token: string; aud: string; wants: string[]; now: number },
): Promise<string> {
  const iat = Math.floor(now / 1000)
  const exp = Math.min(iat + statementTtl, readToken(token).exp)
  return sign(statementKind, { aud, token, key: reader.publicKey, wants, iat, exp }, identity)
}

/**
 * Verifies the record of a reader under its key: the token, the statement by the token's own key, and that the record's
 * name is made of that key, so a hub can neither swap keys nor move a record. The lease is the caller's to check.
 * `now` is Unix ms. Throws `bad_reader`.
 */
export async function verifyReader(
  record: CertReader,
  key: string,
  { trust, aud, now }: { trust: TrustList; aud: string; now: number },
): Promise<VerifiedReader> {
  let claims: TokenClaims | undefined
  const stated = await verify(statementKind, record.statement, async ({ token }) => {
    claims = await wrapped('bad_reader', () => verifyToken(token, trust, { aud, now }))
    const identity = boundKey(claims)
    if (!identity) throw damonError('bad_reader', 'Its token is not bound to a key.')
    return identity
  })
  if (!claims || stated.aud !== aud) throw damonError('bad_reader', 'It is for another audience.', { field: 'aud' })
  const seconds = now / 1000
  if (stated.exp - stated.iat > statementTtl || seconds > stated.exp + clockSkew || seconds < stated.iat - clockSkew) {
    throw damonError('bad_reader', 'The statement is outside its time.', { field: 'exp' })
  }
  const service = claims.sub.split('/')[0]
  const name = `${service}/${await digest16(base64url.decode(stated.key))}`
  if (!isKey(key) || key !== readerKey({ name }))
    throw damonError('bad_reader', `Its key must be ${readerKey({ name })}.`)
  const rights = parseCapabilities(claims.can, claims.sub)
  const wants = [...new Set(stated.wants)]
  return {
    name,
    publicKey: stated.key,
    wants: wants.filter((id) => rights.may('cert', id)),
    denied: wants.filter((id) => !rights.may('cert', id)),
    exp: stated.exp,
    claims,
  }
}

/** Signs what a reader serves, by the identity key of its statement. Throws `bad_reader`. */
export function signReceipt(
  reader: { name: string },
  { identity, aud, serving }: { identity: PrivateJwk; aud: string; serving: Serving },
): Promise<string> {
  return sign(receiptKind, { aud, reader: reader.name, serving }, identity)
}

/** Reads the receipt of a verified reader. An old receipt shows an old version: compare. Throws `bad_reader`. */
export async function verifyReceipt(text: string, reader: VerifiedReader): Promise<Serving> {
  const {
    aud,
    reader: name,
    serving,
  } = await verify(receiptKind, text, () => {
    const identity = boundKey(reader.claims)
    if (!identity) throw damonError('bad_reader', 'Its token is not bound to a key.')
    return identity
  })
  if (aud !== reader.claims.aud || name !== reader.name) {
    throw damonError('bad_reader', 'The receipt is of another reader.', { field: 'receipts' })
  }
  return serving
}

/** Runs a check of an embedded token and reports its failure as the failure of what carries it. */
export async function wrapped<T>(code: ErrorCode, check: () => Promise<T>): Promise<T> {
  try {
    return await check()
  } catch (cause) {
    throw damonError(code, `Its token fails (${cause instanceof DamonError ? cause.code : 'internal'}).`, { cause })
  }
}

async function digest16(raw: Uint8Array): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new Uint8Array(raw)))
  return Array.from(digest.subarray(0, 8), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
