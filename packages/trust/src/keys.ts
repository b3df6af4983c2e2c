import { calculateJwkThumbprint, importJWK } from 'jose'
import * as z from 'zod/mini'

/** 32 bytes in base64url. */
const raw32 = z.string().check(z.regex(/^[A-Za-z0-9_-]{43}$/))

/** An Ed25519 public key as a JWK (RFC 8037). */
export const publicJwk = z.object({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), x: raw32 })
export type PublicJwk = z.infer<typeof publicJwk>

/** An Ed25519 private key as a JWK; `d` is the secret. */
export const privateJwk = z.object({ ...publicJwk.shape, d: raw32 })
export type PrivateJwk = z.infer<typeof privateJwk>

/** A new identity, issuer or root key, both halves as JWKs. */
export interface KeyPairJwk {
  publicKey: PublicJwk
  privateKey: PrivateJwk
}

/** Imported public keys that are kept: issuers are few, a hub's clients come again. */
const importedKeys = 1024
const publicKeys = new Map<string, Promise<CryptoKey>>()
const privateKeys = new WeakMap<PrivateJwk, Promise<CryptoKey>>()

/** Makes an Ed25519 key from the platform's random source. */
export async function generateKey(): Promise<KeyPairJwk> {
  const pair = (await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify'])) as CryptoKeyPair
  const privateKey = privateJwk.parse(await crypto.subtle.exportKey('jwk', pair.privateKey))
  return { publicKey: publicHalf(privateKey), privateKey }
}

/** The public half of a private key. */
export function publicHalf({ x }: PrivateJwk): PublicJwk {
  return { kty: 'OKP', crv: 'Ed25519', x }
}

/** The SHA-256 thumbprint of a key (RFC 7638) in base64url: its name in logs and listings. */
export function thumbprint({ kty, crv, x }: PublicJwk): Promise<string> {
  return calculateJwkThumbprint({ kty, crv, x })
}

/** The key to verify with. Kept, so that a hub imports an issuer's key once. Rejects what is no point of the curve. */
export function importPublic({ kty, crv, x }: PublicJwk): Promise<CryptoKey> {
  const known = publicKeys.get(x)
  publicKeys.delete(x)
  const key = known ?? (importJWK({ kty, crv, x }, 'EdDSA') as Promise<CryptoKey>)
  publicKeys.set(x, key)
  if (publicKeys.size > importedKeys) publicKeys.delete(publicKeys.keys().next().value ?? '')
  return key
}

/** The key to sign with, kept as long as its JWK is. */
export function importPrivate(jwk: PrivateJwk): Promise<CryptoKey> {
  const known = privateKeys.get(jwk)
  if (known) return known
  const { kty, crv, x, d } = jwk
  const key = crypto.subtle.importKey('jwk', { kty, crv, x, d }, 'Ed25519', false, ['sign'])
  privateKeys.set(jwk, key)
  return key
}
