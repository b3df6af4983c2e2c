import { isAddress, isEvent, isPrefix, isSegment } from '@damon/protocol/names'
import { InvalidArgumentError } from 'commander'

const durations = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `250ms`, `30s`, `5m`, `12h` or `90d`, in ms. */
export function duration(text: string): number {
  const [, digits, unit] = /^([1-9]\d{0,8})(ms|s|m|h|d)$/.exec(text) ?? []
  if (!digits) throw new InvalidArgumentError('Write a number and one of ms, s, m, h, d, for example 90d.')
  return Number(digits) * durations[unit as keyof typeof durations]
}

/** Whom to send to: `all`, `group/NAME` or `client/SERVICE/INSTANCE`. */
export function address(text: string): string {
  if (isAddress(text)) return text
  throw new InvalidArgumentError('Write all, group/NAME or client/SERVICE/INSTANCE.')
}

/** An event's name. */
export function event(text: string): string {
  if (isEvent(text)) return text
  throw new InvalidArgumentError('An event has 1 to 64 characters of a-z, 0-9, dot, dash and underscore.')
}

/** What may be watched: a key, or a key and `/`. */
export function prefix(text: string): string {
  if (isPrefix(text)) return text
  throw new InvalidArgumentError('Write a whole key, or a prefix that ends with /, for example node/.')
}

/** JSON where it is JSON, else the text itself. */
export function value(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** The subject of a token: SERVICE/INSTANCE. */
export function subject(text: string): string {
  const segments = text.split('/')
  if (segments.length === 2 && segments.every(isSegment)) return text
  throw new InvalidArgumentError('Write SERVICE/INSTANCE, for example bot/eu-1 (a-z, 0-9, dot, dash, underscore).')
}

/** Values parted by commas, added to those of the option's earlier uses. */
export function gathered(text: string, earlier: readonly string[] = []): string[] {
  return [...earlier, ...text.split(',').map((part) => part.trim())].filter((part) => part !== '')
}

/** Hub URLs, gathered likewise. */
export function hubUrls(text: string, earlier: readonly string[] = []): string[] {
  const urls = gathered(text, earlier)
  const wrong = urls.find((url) => !URL.canParse(url) || new URL(url).protocol !== 'wss:')
  if (wrong === undefined) return urls
  throw new InvalidArgumentError(`${wrong} is no wss:// URL.`)
}
