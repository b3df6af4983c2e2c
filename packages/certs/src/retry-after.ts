const longestMs = 7 * 24 * 3_600_000

/** Unix ms of a Retry-After header, in seconds or as a date (RFC 9110, 10.2.3); at most a week away. */
export function readRetryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined
  const at = /^\d+$/.test(header) ? now + Number(header) * 1000 : Date.parse(header)
  return Number.isFinite(at) ? Math.min(Math.max(at, now), now + longestMs) : undefined
}
