import { damonError } from '@damon/protocol/errors'
import * as z from 'zod/mini'
import type { PrivateJwk } from './keys.ts'
import { type SignedKind, sign, verify } from './signed.ts'
import type { TokenClaims } from './token.ts'

const payload = z.object({
  /** As the challenge had it. */
  nonce: z.string().check(z.minLength(16), z.maxLength(256)),
  /** The host that was dialled: a name or an address, lower case, no brackets, no port. */
  host: z.string().check(z.minLength(1), z.maxLength(255)),
  /** `jti` of the token that is presented with it. */
  jti: z.string().check(z.maxLength(64)),
})

const kind = {
  typ: 'damon-proof+jwt',
  maxBytes: 1024,
  payload,
  code: 'bad_proof',
} as const satisfies SignedKind<typeof payload>

/** Proves on one connection, dialled by one name, that the holder of a token holds its key. `host` is as in `URL.hostname`. */
export function prove(
  identity: PrivateJwk,
  { nonce, host, jti }: { nonce: string; host: string; jti: string },
): Promise<string> {
  return sign(kind, { nonce, host: host.replace(/^\[(.*)\]$/, '$1').toLowerCase(), jti }, identity)
}

/**
 * Verifies a proof against the verified claims of its token, this socket's nonce and the hub's own names. A bearer
 * token (no `cnf`) needs none. Throws `proof_required` or `bad_proof`.
 */
export async function verifyProof(
  proof: string | undefined,
  { cnf, jti }: TokenClaims,
  { nonce, isHost }: { nonce: string; isHost: (host: string) => boolean },
): Promise<void> {
  if (!cnf) return
  if (!proof) throw damonError('proof_required')
  const proven = await verify(kind, proof, () => cnf.jwk)
  if (proven.nonce !== nonce) throw damonError('bad_proof', 'It answers another challenge.', { field: 'nonce' })
  if (proven.jti !== jti) throw damonError('bad_proof', 'It is for another token.', { field: 'jti' })
  if (!isHost(proven.host)) throw damonError('bad_proof', 'It is for another host.', { field: 'host' })
}
