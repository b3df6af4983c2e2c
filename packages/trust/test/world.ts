import { DamonError, type ErrorCode } from '@damon/protocol/errors'
import { expect } from 'vitest'
import { generateKey, type KeyPairJwk } from '../src/keys.ts'
import { mintToken, type TokenClaims } from '../src/token.ts'
import { type Issuer, signTrustList, type TrustList, verifyTrustList } from '../src/trust-list.ts'

export const aud = 'damon:test'

/** Unix ms of a whole second: the clock of these tests. */
export const now = 1_795_392_000_000

/** A root, one issuer without limits, and tokens from it. */
export interface World {
  root: KeyPairJwk
  issuer: KeyPairJwk
  trust: TrustList
  claims(changes?: Partial<TokenClaims>): TokenClaims
  token(changes?: Partial<TokenClaims>): Promise<string>
}

export async function createWorld(ceiling: Partial<Issuer> = {}, revoked?: TrustList['revoked']): Promise<World> {
  const root = await generateKey()
  const issuer = await generateKey()
  const list: TrustList = {
    aud,
    seq: 1,
    issuers: [{ kid: 'op-1', x: issuer.publicKey.x, sub: '*', can: ['*'], ...ceiling }],
    ...(revoked ? { revoked } : {}),
  }
  const trust = await verifyTrustList(await signTrustList(root.privateKey, list), root.publicKey, { aud })
  const iat = now / 1000
  const claims = (changes: Partial<TokenClaims> = {}): TokenClaims => ({
    aud,
    sub: 'bot/eu-1',
    jti: 'token-1',
    iat,
    exp: iat + 3_600,
    can: ['join:bots', 'get:node/*'],
    ...changes,
  })
  return {
    root,
    issuer,
    trust,
    claims,
    token: (changes) => mintToken({ kid: 'op-1', key: issuer.privateKey }, claims(changes)),
  }
}

/** Waits for a refusal and checks its code. */
export async function expectRefusal(attempt: Promise<unknown>, code: ErrorCode, detail?: RegExp): Promise<void> {
  const error = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(DamonError)
  expect((error as DamonError).code).toBe(code)
  if (detail) expect((error as DamonError).message).toMatch(detail)
}

/** A compact JWS with its payload replaced, header and signature kept. */
export function withPayload(jws: string, change: (payload: Record<string, unknown>) => object): string {
  const [head, body = '', signature] = jws.split('.')
  const payload = JSON.parse(Buffer.from(body, 'base64url').toString())
  return [head, Buffer.from(JSON.stringify(change(payload))).toString('base64url'), signature].join('.')
}
