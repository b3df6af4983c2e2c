import type { Health } from './decision.ts'
import type { Look } from './lavalink.ts'

/** How often to look, all in ms. */
export interface Rhythm {
  pollMs: number
  /** Between looks that decide something: while starting, while an outage or recovery shows, while draining. */
  quickMs: number
  /** After a refused password: NodeLink bans an address for 15 minutes after 5 wrong ones in one. */
  refusedMs: number
}

/** How long to wait before the next look. */
export function pause({ state }: Health, last: Look | undefined, { pollMs, quickMs, refusedMs }: Rhythm): number {
  if (last?.kind === 'refused') return refusedMs
  const quick = Math.min(quickMs, pollMs)
  if (state === 'draining' || state === 'starting' || !last) return quick
  const absent = state === 'unreachable'
  // A node may be misconfigured whether it answers or not.
  const settled = state === 'misconfigured' || (absent ? last.kind !== 'well' : last.kind === 'well')
  return settled ? pollMs : quick
}
