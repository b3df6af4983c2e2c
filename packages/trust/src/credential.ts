import { damonError } from '@damon/protocol/errors'
import { base64url } from 'jose'
import * as z from 'zod/mini'
import { type PrivateJwk, type PublicJwk, privateJwk, publicJwk } from './keys.ts'

const joinPrefix = 'damon1.'

/** Everything a service needs to connect: one file, mode 0600, or one `DAMON_JOIN` string. */
export interface Credential {
  /** Version of this format. */
  damon: 1
  /** Hubs, tried in turn; `wss` only. */
  urls: string[]
  /** Audience of the tokens. */
  aud: string
  /** The pinned root: what the trust list must be signed by. */
  root: PublicJwk
  /** The trust list, a JWS. */
  trust: string
  token: string
  /** PEM of the authority behind the hub's certificate, when no public one is. */
  ca?: string | undefined
  /** The private key that the token is bound to; absent for a bearer token. */
  identity?: PrivateJwk | undefined
}

const credential = z.object({
  damon: z.literal(1),
  urls: z.array(z.string().check(z.refine(isHubUrl, 'not a wss:// URL'))).check(z.minLength(1), z.maxLength(16)),
  aud: z.string().check(z.minLength(1), z.maxLength(64)),
  root: publicJwk,
  trust: z.string().check(z.minLength(1)),
  token: z.string().check(z.minLength(1)),
  ca: z.optional(z.string().check(z.refine((pem) => pem.includes('-----BEGIN CERTIFICATE-----'), 'not a PEM'))),
  identity: z.optional(privateJwk),
})

/** Reads the text of a connection file or a `DAMON_JOIN` string, which comes `from` there. Throws `bad_credential`, naming that and the field. */
export function parseCredential(text: string, from?: string): Credential {
  const result = z.safeParse(credential, decode(text.trim(), from ?? 'It'))
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const field = issue?.path.join('.') || undefined
  const what = [from, field ?? 'It'].filter(Boolean).join(': ')
  throw damonError('bad_credential', `${what}: ${issue?.message ?? 'invalid'}.`, { field, cause: result.error })
}

/** The `DAMON_JOIN` string of a credential. It is a secret. */
export function encodeJoin(value: Credential): string {
  return joinPrefix + base64url.encode(JSON.stringify(value))
}

function decode(text: string, from: string): unknown {
  const isJoin = text.startsWith(joinPrefix)
  try {
    return JSON.parse(isJoin ? new TextDecoder().decode(base64url.decode(text.slice(joinPrefix.length))) : text)
  } catch {
    // No cause: the engine's message quotes the text, which holds a private key.
    const detail = isJoin
      ? `${from} does not decode behind "${joinPrefix}".`
      : `${from} is neither JSON nor "${joinPrefix}…".`
    throw damonError('bad_credential', detail)
  }
}

function isHubUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, username, password } = new URL(text)
  return protocol === 'wss:' && username === '' && password === ''
}
