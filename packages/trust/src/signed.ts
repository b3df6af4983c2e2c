import { type DamonError, damonError, type ErrorCode } from '@damon/protocol/errors'
import { base64url, compactVerify } from 'jose'
import * as z from 'zod/mini'
import { importPrivate, importPublic, type PrivateJwk, type PublicJwk } from './keys.ts'

/** What a signature is for. Each kind has its own `typ`, so none can be passed off as another. */
export type SignedType =
  | 'damon+jwt'
  | 'damon-trust+jwt'
  | 'damon-proof+jwt'
  | 'damon-reader+jwt'
  | 'damon-receipt+jwt'
  | 'damon-cert+jwt'

/** One kind of signed text: how long it may be, what it says, and the error when it is not that. */
export interface SignedKind<S extends z.ZodMiniType> {
  typ: SignedType
  /** Characters, which are bytes: a compact JWS is ASCII. */
  maxBytes: number
  payload: S
  code: ErrorCode
}

/** The name of the key that signed, where the verifier has several to choose from. */
export interface SignedHeader {
  kid: string | undefined
}

const header = z.strictObject({
  alg: z.literal('EdDSA'),
  typ: z.string(),
  kid: z.optional(z.string().check(z.regex(/^[A-Za-z0-9._-]{1,64}$/))),
})

/** Signs a payload as a compact JWS (RFC 7515), EdDSA. Throws the kind's code when the payload is not of the kind or too long. */
export async function sign<S extends z.ZodMiniType>(
  kind: SignedKind<S>,
  payload: z.input<S>,
  key: PrivateJwk,
  kid?: string,
): Promise<string> {
  const protectedHeader = { alg: 'EdDSA', typ: kind.typ, ...(kid === undefined ? {} : { kid }) }
  parse(kind, header, protectedHeader)
  // WebCrypto is all that signing needs; jose's way to it would be a fifth of what a browser loads.
  const input = [protectedHeader, parse(kind, kind.payload, payload)]
    .map((part) => base64url.encode(JSON.stringify(part)))
    .join('.')
  const signature = await crypto.subtle.sign('Ed25519', await importPrivate(key), new TextEncoder().encode(input))
  const jws = `${input}.${base64url.encode(new Uint8Array(signature))}`
  if (jws.length > kind.maxBytes) throw refusal(kind, `Signed, it has ${jws.length} of at most ${kind.maxBytes} bytes.`)
  return jws
}

/**
 * The one place where a signature is verified. `key` chooses the public key by the header and by what the payload
 * claims; the claim is believed only after that key's signature holds. Throws the kind's code, or what `key` throws.
 */
export async function verify<S extends z.ZodMiniType>(
  kind: SignedKind<S>,
  jws: string,
  key: (payload: z.output<S>, header: SignedHeader) => PublicJwk | Promise<PublicJwk>,
): Promise<z.output<S>> {
  const read = readUnverified(kind, jws)
  const chosen = await key(read.payload, read.header)
  try {
    await compactVerify(jws, await importPublic(chosen), { algorithms: ['EdDSA'] })
  } catch (cause) {
    throw refusal(kind, 'The signature is wrong.', cause)
  }
  return read.payload
}

/** What a signed text says, without asking who signed it: to show one's own token, never to decide. Throws the kind's code. */
export function readUnverified<S extends z.ZodMiniType>(
  kind: SignedKind<S>,
  jws: string,
): { header: SignedHeader; payload: z.output<S> } {
  if (typeof jws !== 'string' || jws.length > kind.maxBytes) {
    throw refusal(kind, `It is not a text of at most ${kind.maxBytes} bytes.`)
  }
  const parts = jws.split('.')
  const [head, body, signature] = parts
  if (parts.length !== 3 || head === undefined || body === undefined || signature === undefined) {
    throw refusal(kind, 'It is not a compact JWS.')
  }
  decode(kind, signature)
  const { typ, kid } = parse(kind, header, decodeJson(kind, head))
  if (typ !== kind.typ) throw refusal(kind, `Its type is not ${kind.typ}.`)
  return { header: { kid }, payload: parse(kind, kind.payload, decodeJson(kind, body)) }
}

function decodeJson(kind: SignedKind<z.ZodMiniType>, part: string): unknown {
  const bytes = decode(kind, part)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw refusal(kind, 'It is not JSON.', cause)
  }
}

function decode(kind: SignedKind<z.ZodMiniType>, part: string): Uint8Array {
  let bytes: Uint8Array
  try {
    bytes = base64url.decode(part)
  } catch (cause) {
    throw refusal(kind, 'It is not base64url.', cause)
  }
  // Decoders ignore the unused bits of the last character: one signature would have several spellings.
  if (base64url.encode(bytes) !== part) throw refusal(kind, 'It is not canonical base64url.')
  return bytes
}

function parse<S extends z.ZodMiniType>(kind: SignedKind<z.ZodMiniType>, schema: S, value: unknown): z.output<S> {
  const result = z.safeParse(schema, value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const field = issue?.path.join('.') || undefined
  throw damonError(kind.code, `${field ?? 'It'}: ${issue?.message ?? 'invalid'}.`, { field, cause: result.error })
}

function refusal(kind: SignedKind<z.ZodMiniType>, detail: string, cause?: unknown): DamonError {
  return damonError(kind.code, detail, { cause })
}
