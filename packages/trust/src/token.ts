import { damonError } from '@damon/protocol/errors'
import { isSegment } from '@damon/protocol/names'
import * as z from 'zod/mini'
import { beyondCeiling, boundOnly, coversSubject, parseCapabilities } from './capabilities.ts'
import { type PrivateJwk, type PublicJwk, publicJwk } from './keys.ts'
import { readUnverified, type SignedKind, sign, verify } from './signed.ts'
import { type Issuer, seconds, type TrustList } from './trust-list.ts'

/** How far two clocks may disagree, seconds. */
export const clockSkew = 60

/** How long a token without a key may be valid, seconds. */
const bearerTtl = 24 * 3_600

/** Unix seconds of a date that exists. */
const unixSeconds = z.number().check(z.int(), z.gte(0), z.lte(8_640_000_000_000))

const claims = z.object({
  aud: z.string().check(z.minLength(1), z.maxLength(64)),
  /** SERVICE/INSTANCE */
  sub: z.string().check(z.refine(isSubject, 'not SERVICE/INSTANCE')),
  jti: z.string().check(z.regex(/^[A-Za-z0-9_-]{1,64}$/)),
  /** Unix seconds. */
  iat: unixSeconds,
  /** Unix seconds. */
  exp: unixSeconds,
  /** Name of the rate class. */
  rate: z.optional(z.string().check(z.refine(isSegment, 'not a name'))),
  /** The key that must prove itself on each connection; without it the token is a bearer token. */
  cnf: z.optional(z.object({ jwk: publicJwk })),
  can: z.array(z.string()).check(z.maxLength(64)),
})

/** What a token says of its holder. */
export type TokenClaims = z.infer<typeof claims>

const kind = {
  typ: 'damon+jwt',
  maxBytes: 2 * 1024,
  payload: claims,
  code: 'bad_token',
} as const satisfies SignedKind<typeof claims>

/** Makes a token. Throws `bad_token` for claims that no hub would accept from any issuer. */
export async function mintToken(issuer: { kid: string; key: PrivateJwk }, tokenClaims: TokenClaims): Promise<string> {
  checkClaims(tokenClaims)
  return sign(kind, tokenClaims, issuer.key, issuer.kid)
}

/**
 * Verifies a token against the trust list. `now` is Unix ms. Throws `bad_token`, `token_expired` (also: not valid
 * yet), `token_revoked` or `token_beyond_issuer`. A token with `cnf` still needs its proof.
 */
export async function verifyToken(
  token: string,
  trust: TrustList,
  { aud, now }: { aud: string; now: number },
): Promise<TokenClaims> {
  let issuer: Issuer | undefined
  const tokenClaims = await verify(kind, token, (_payload, { kid }) => {
    issuer = trust.issuers.find((listed) => listed.kid === kid)
    if (!issuer) throw damonError('bad_token', 'Its issuer is not on the trust list.', { field: 'kid' })
    return { kty: 'OKP', crv: 'Ed25519', x: issuer.x }
  })
  if (!issuer || tokenClaims.aud !== aud || trust.aud !== aud) {
    throw damonError('bad_token', 'It is for another audience.', { field: 'aud' })
  }
  checkClaims(tokenClaims)
  if (isRevoked(tokenClaims, trust)) throw damonError('token_revoked')
  checkTime(tokenClaims, now / 1000)
  checkCeiling(tokenClaims, issuer)
  return tokenClaims
}

/** What a token says, not verified: for its own holder, who needs `sub` and `jti`. Throws `bad_token`. */
export function readToken(token: string): TokenClaims {
  return readUnverified(kind, token).payload
}

/** The public key that a token is bound to; undefined for a bearer token. */
export function boundKey({ cnf }: TokenClaims): PublicJwk | undefined {
  return cnf?.jwk
}

function checkClaims({ can, sub, iat, exp, cnf }: TokenClaims): void {
  parseCapabilities(can, sub)
  if (exp <= iat) throw damonError('bad_token', 'It ends before it begins.', { field: 'exp' })
  if (cnf) return
  if (exp - iat > bearerTtl) {
    throw damonError('bad_token', 'Without a key it may be valid for 24 hours.', { field: 'exp' })
  }
  const refused = boundOnly(can)
  if (refused) throw damonError('bad_token', `Without a key it may not hold "${refused}".`, { field: 'can' })
}

/** Whether a trust list declares a token void that was verified before. */
export function isRevoked(
  { jti, sub, iat }: Pick<TokenClaims, 'jti' | 'sub' | 'iat'>,
  { revoked }: TrustList,
): boolean {
  return (
    (revoked?.ids?.includes(jti) ?? false) ||
    (revoked?.subs?.some((pattern) => coversSubject(pattern, sub)) ?? false) ||
    iat < (revoked?.issuedBefore ?? 0)
  )
}

/** Name of the key that a verified token was signed with. */
export function issuerOf(token: string): string {
  return readUnverified(kind, token).header.kid ?? ''
}

function checkTime({ iat, exp }: TokenClaims, now: number): void {
  if (now > exp + clockSkew) throw damonError('token_expired', 'It has expired.', { field: 'exp' })
  if (now < iat - clockSkew) throw damonError('token_expired', 'It is not valid yet.', { field: 'iat' })
}

function checkCeiling({ sub, can, iat, exp }: TokenClaims, issuer: Issuer): void {
  if (!coversSubject(issuer.sub, sub)) {
    throw damonError('token_beyond_issuer', `${issuer.kid} may not issue for ${sub}.`, { field: 'sub' })
  }
  const beyond = beyondCeiling(can, issuer.can)
  if (beyond) throw damonError('token_beyond_issuer', `${issuer.kid} may not grant "${beyond}".`, { field: 'can' })
  if (issuer.maxTtl !== undefined && exp - iat > seconds(issuer.maxTtl)) {
    throw damonError('token_beyond_issuer', `${issuer.kid} may grant ${issuer.maxTtl}.`, { field: 'exp' })
  }
}

function isSubject(text: string): boolean {
  const segments = text.split('/')
  return segments.length === 2 && segments.every(isSegment)
}
