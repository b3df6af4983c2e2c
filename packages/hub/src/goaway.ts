import type { HubControlFrame } from '@damon/protocol/frames'

type Goaway = Extract<HubControlFrame, { type: 'goaway' }>

/** Who can be asked to leave. */
export interface Guest {
  readonly isIdentified: boolean
  send(frame: Goaway): void
}

/** No slot is shorter, ms: timers of clients are no finer. */
const shortestSlotMs = 20

/**
 * Asks clients to leave within a time, one slot of it for each few, so that they come one after another where they go.
 * Who has not said hello yet is not asked. Returns how many were.
 */
export function askToLeave(
  guests: Iterable<Guest>,
  { reason, withinMs, hubs }: { reason: string; withinMs: number; hubs: readonly string[] },
): number {
  const asked = [...guests].filter(({ isIdentified }) => isIdentified)
  const slots = Math.max(Math.min(asked.length, Math.floor(withinMs / shortestSlotMs)), 1)
  const slotMs = Math.floor(withinMs / slots)
  asked.forEach((guest, i) => {
    const afterMs = Math.floor((i * slots) / asked.length) * slotMs
    guest.send({ type: 'goaway', reason, afterMs, withinMs: slotMs, ...(hubs.length > 0 && { hubs: [...hubs] }) })
  })
  return asked.length
}
