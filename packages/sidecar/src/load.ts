import type { Load } from './lavalink.ts'

/** How far a figure moves, as a share of its whole, before the bots need to know. */
export const step = { load: 0.05, memory: 0.05 } as const

/** Whether `next` tells a bot that places players something that `known` does not. */
export function tellsMore(known: Load, next: Load): boolean {
  const restarted = next.uptime < known.uptime
  const whole = Math.max(next.memoryReservable, 1)
  return (
    restarted ||
    next.players !== known.players ||
    next.playingPlayers !== known.playingPlayers ||
    Math.abs(next.systemLoad - known.systemLoad) >= step.load ||
    Math.abs(next.lavalinkLoad - known.lavalinkLoad) >= step.load ||
    next.memoryReservable !== known.memoryReservable ||
    Math.abs(next.memoryUsed - known.memoryUsed) / whole >= step.memory
  )
}
