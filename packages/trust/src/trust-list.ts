import { damonError } from '@damon/protocol/errors'
import * as z from 'zod/mini'
import { beyondCeiling, isPattern } from './capabilities.ts'
import { type PrivateJwk, type PublicJwk, publicJwk } from './keys.ts'
import { type SignedKind, sign, verify } from './signed.ts'

const units = { s: 1, m: 60, h: 3_600, d: 86_400 } as const

const issuer = z.object({
  /** Names the issuer in the header of its tokens. */
  kid: z.string().check(z.regex(/^[A-Za-z0-9._-]{1,64}$/)),
  /** Its Ed25519 public key. */
  x: publicJwk.shape.x,
  /** Pattern of the subjects that it may make tokens for. */
  sub: z.string().check(z.refine(isPattern, 'not a pattern')),
  /** Capabilities that it may grant; a lone `*` means all. */
  can: z.array(z.string()).check(z.maxLength(64)),
  /** How long its tokens may be valid: a number and one of s, m, h, d. */
  maxTtl: z.optional(z.string().check(z.regex(/^[1-9]\d{0,6}[smhd]$/))),
})

const trustList = z.object({
  aud: z.string().check(z.minLength(1), z.maxLength(64)),
  /** Grows with each list; a lower one is an old one. */
  seq: z.number().check(z.int(), z.nonnegative()),
  /** Made by `npm start` with keys that lie on the same disk: not for production. */
  dev: z.optional(z.boolean()),
  issuers: z.array(issuer).check(z.minLength(1), z.maxLength(64)),
  revoked: z.optional(
    z.object({
      /** `jti` of tokens. */
      ids: z.optional(z.array(z.string())),
      /** Subjects, or patterns of them. */
      subs: z.optional(z.array(z.string().check(z.refine(isPattern, 'not a pattern')))),
      /** Unix seconds: tokens issued earlier are void. */
      issuedBefore: z.optional(z.number()),
    }),
  ),
})

/** Who may issue tokens, and which tokens are void: the one thing the root key signs. */
export type TrustList = z.infer<typeof trustList>
export type Issuer = z.infer<typeof issuer>

const kind = {
  typ: 'damon-trust+jwt',
  maxBytes: 64 * 1024,
  payload: trustList,
  code: 'bad_trust_list',
} as const satisfies SignedKind<typeof trustList>

/** Signs a trust list with the root key. Throws `bad_trust_list` when it makes no sense. */
export function signTrustList(rootKey: PrivateJwk, list: TrustList): Promise<string> {
  checkIssuers(list)
  return sign(kind, list, rootKey)
}

/** Reads a trust list signed by the pinned root for this audience. Throws `bad_trust_list`. */
export async function verifyTrustList(
  jws: string,
  rootPublic: PublicJwk,
  { aud }: { aud: string },
): Promise<TrustList> {
  const list = await verify(kind, jws, () => rootPublic)
  if (list.aud !== aud) throw damonError('bad_trust_list', 'It is for another audience.', { field: 'aud' })
  checkIssuers(list)
  return list
}

/** A duration such as `30d` in seconds. */
export function seconds(duration: string): number {
  return Number(duration.slice(0, -1)) * units[duration.slice(-1) as keyof typeof units]
}

function checkIssuers({ issuers }: TrustList): void {
  if (new Set(issuers.map(({ kid }) => kid)).size !== issuers.length) {
    throw damonError('bad_trust_list', 'Two issuers have the same kid.', { field: 'issuers' })
  }
  for (const { kid, can } of issuers) {
    try {
      beyondCeiling(
        can.filter((text) => text !== '*'),
        [],
      )
    } catch (cause) {
      throw damonError('bad_trust_list', `The ceiling of issuer ${kid} is malformed.`, { field: 'issuers', cause })
    }
  }
}
