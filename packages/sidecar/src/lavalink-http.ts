/** Where a Lavalink answers: `url` may be https and may have a path prefix. */
export interface LavalinkPlace {
  url: URL
  password: string
}

/** Bounds of one request. */
export interface RequestBounds {
  /** Bytes of the body that are read at most. */
  maxBytes: number
  signal: AbortSignal
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
export async function get(place: LavalinkPlace, path: string, { maxBytes, signal }: RequestBounds): Promise<string> {
  const target = new URL(place.url.pathname.replace(/\/$/, '') + path, place.url)
  // A redirect is not followed: it would carry the password to wherever it points.
  const response = await fetch(target, { headers: { Authorization: place.password }, redirect: 'manual', signal })
  const { status } = response
  if (status === 200 || status === 204) return readText(response, maxBytes)
  await response.body?.cancel()
  if (status === 401 || status === 403) throw new Unusable('refused', `refuses the password (${status})`, status)
  const kind = status >= 500 || status === 429 ? 'silent' : 'foreign'
  throw new Unusable(kind, `answers ${target.pathname} with status ${status}`, status)
}

async function readText(response: Response, maxBytes: number): Promise<string> {
  const pieces: Uint8Array[] = []
  let bytes = 0
  for await (const piece of response.body ?? []) {
    bytes += piece.byteLength
    if (bytes > maxBytes) throw new Unusable('foreign', `sends more than ${maxBytes} bytes`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString('utf8')
}

const words: Record<string, string> = {
  ECONNREFUSED: 'refuses connections',
  ECONNRESET: 'breaks the connection off',
  UND_ERR_SOCKET: 'breaks the connection off',
  ENOTFOUND: 'has a host name that does not resolve',
  EAI_AGAIN: 'has a host name that does not resolve now',
  EHOSTUNREACH: 'cannot be routed to',
  ENETUNREACH: 'cannot be routed to',
  ETIMEDOUT: 'gives no answer',
}

/** A clause about what made a request fail. */
export function inWords(error: unknown): string {
  // fetch hides what happened in a chain of causes, and in the errors of an AggregateError.
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const inner: unknown = at instanceof AggregateError ? at.errors[0] : at
    const code = inner instanceof Error && 'code' in inner ? String(inner.code) : undefined
    if (code !== undefined) return words[code] ?? `cannot be asked (${code})`
  }
  return `cannot be asked (${error instanceof Error ? error.name : 'unknown error'})`
}
