import { getText, type RequestBounds, TooLong } from './http-text.ts'

/** Where a Lavalink answers: `url` may be https and may have a path prefix. */
export interface LavalinkPlace {
  url: URL
  password: string
}

/** Why an answer is of no use: `kind` as in a look, `message` a clause in words, `status` where there was one. */
export class Unusable extends Error {
  readonly kind: 'refused' | 'foreign' | 'silent'
  readonly status: number | undefined

  constructor(kind: 'refused' | 'foreign' | 'silent', reason: string, status?: number) {
    super(reason)
    this.kind = kind
    this.status = status
  }
}

/** Asks a route. Throws Unusable for every status but 200 and 204, whose text is empty. */
export async function get(place: LavalinkPlace, path: string, bounds: RequestBounds): Promise<string> {
  const target = new URL(place.url.pathname.replace(/\/$/, '') + path, place.url)
  const { status, text } = await getText(target, { Authorization: place.password }, bounds).catch((error) => {
    throw error instanceof TooLong ? new Unusable('foreign', error.message) : error
  })
  if (status === 200 || status === 204) return text
  if (status === 401 || status === 403) throw new Unusable('refused', `refuses the password (${status})`, status)
  const kind = status >= 500 || status === 429 ? 'silent' : 'foreign'
  throw new Unusable(kind, `answers ${target.pathname} with status ${status}`, status)
}

const words: Record<string, string> = {
  ECONNREFUSED: 'refuses connections',
  ECONNRESET: 'breaks the connection off',
  ENOTFOUND: 'has a host name that does not resolve',
  EAI_AGAIN: 'has a host name that does not resolve now',
  EHOSTUNREACH: 'cannot be routed to',
  ENETUNREACH: 'cannot be routed to',
  ETIMEDOUT: 'gives no answer',
}

/** A clause about what made a request fail. */
export function inWords(error: unknown): string {
  // A name with several addresses fails with one error for each.
  const inner: unknown = error instanceof AggregateError ? error.errors[0] : error
  const code = inner instanceof Error && 'code' in inner ? String(inner.code) : undefined
  if (code !== undefined) return words[code] ?? `cannot be asked (${code})`
  return `cannot be asked (${error instanceof Error ? error.name : 'unknown error'})`
}
