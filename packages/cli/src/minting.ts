import { randomUUID } from 'node:crypto'
import type { Credential } from '@damon/trust/credential'
import { generateKey } from '@damon/trust/keys'
import { mintToken, verifyToken } from '@damon/trust/token'
import type { KeyRing } from './keys.ts'

/** What a new connection shall be. */
export interface Wish {
  /** SERVICE/INSTANCE */
  sub: string
  can: readonly string[]
  /** How long the token is valid, ms. */
  ttl: number
  /** Without a key of its own: whoever has the token may use it. */
  bearer?: boolean
  urls: readonly string[]
  /** PEM of the authority behind the hub's certificate. */
  ca?: string | undefined
}

/**
 * Makes a token, bound to a new key unless it is a bearer's, and all that goes with it into a connection file.
 * Throws `bad_token` or `token_beyond_issuer` for what no hub would accept.
 */
export async function mintCredential(keys: KeyRing, wish: Wish, now: number): Promise<Credential> {
  const identity = wish.bearer ? undefined : await generateKey()
  const { issuer } = keys
  const iat = Math.floor(now / 1000)
  const token = await mintToken(
    { kid: issuer.kid, key: issuer.key },
    {
      aud: issuer.aud,
      sub: wish.sub,
      jti: randomUUID(),
      iat,
      exp: iat + Math.ceil(wish.ttl / 1000),
      can: [...new Set(wish.can)],
      ...(identity ? { cnf: { jwk: identity.publicKey } } : {}),
    },
  )
  await verifyToken(token, keys.list, { aud: issuer.aud, now })
  return {
    damon: 1,
    urls: [...wish.urls],
    aud: issuer.aud,
    root: keys.root,
    trust: keys.trust,
    token,
    ...(wish.ca === undefined ? {} : { ca: wish.ca }),
    ...(identity ? { identity: identity.privateKey } : {}),
  }
}

/** A credential as the text of a connection file. It is a secret. */
export function connectionText(credential: Credential): string {
  return `${JSON.stringify(credential, null, 2)}\n`
}
