import { randomUUID } from 'node:crypto'
import type { Credential } from '@damon/trust/credential'
import { generateKey } from '@damon/trust/keys'
import { mintToken } from '@damon/trust/token'
import { signTrustList, type TrustList, verifyTrustList } from '@damon/trust/trust-list'

/** Audience of everything a trusted issuer makes. */
export const aud = 'damon:test'

/** A root, its trust list, and one issuer on it that may grant everything. */
export interface TrustedIssuer {
  readonly trust: TrustList
  /** What a service with this subject and these capabilities connects with; it and its token are good for an hour. */
  credential(
    sub: string,
    can: readonly string[],
  ): Promise<Credential & { identity: NonNullable<Credential['identity']> }>
}

/** Makes a root with an issuer of its own. */
export async function trustedIssuer(): Promise<TrustedIssuer> {
  const [root, issuer] = await Promise.all([generateKey(), generateKey()])
  const issuers = [{ kid: 'op-1', x: issuer.publicKey.x, sub: '*', can: ['*'] }]
  const text = await signTrustList(root.privateKey, { aud, seq: 1, issuers })
  return {
    trust: await verifyTrustList(text, root.publicKey, { aud }),
    async credential(sub, can) {
      const { publicKey, privateKey: identity } = await generateKey()
      const iat = Math.floor(Date.now() / 1000)
      const claims = { aud, sub, jti: randomUUID(), iat, exp: iat + 3_600, can: [...can], cnf: { jwk: publicKey } }
      const token = await mintToken({ kid: 'op-1', key: issuer.privateKey }, claims)
      return { damon: 1, urls: ['wss://hub.test'], aud, root: root.publicKey, trust: text, token, identity }
    },
  }
}
