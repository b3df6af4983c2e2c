import type { AudioNode } from '../audio-node.ts'
import type { Clock } from '../clock.ts'
import type { Lavalink, Look } from '../lavalink.ts'
import type { BanWindow } from './ban-window.ts'

/** The largest pool of which a share of failing addresses means anything; a /64 is never used up. */
export const finitePool = 4_096n

/** With what the route planner is watched, times in ms. */
export interface RoutePlannerOptions {
  lavalink: Pick<Lavalink, 'planner'>
  bans: BanWindow
  banMs: number
  everyMs: number
  clock: Clock
}

/** Reads the planner's list again and again where it means something; rejects with the reason of `signal`. */
export async function runRoutePlanner(
  node: AudioNode,
  options: RoutePlannerOptions,
  signal: AbortSignal,
): Promise<void> {
  const { lavalink, bans, banMs, everyMs, clock } = options
  for (;;) {
    await node.until(({ well, health }) => health.state === 'retired' || (well !== undefined && seesBans(well)), signal)
    if (node.health.state === 'retired') return
    const status = await lavalink.planner(signal)
    if (status.kind === 'known' && status.size <= finitePool && !status.planner.includes('Nano')) {
      bans.merge(status.failing, clock.unix(), banMs)
      const size = Number(status.size)
      node.observe({ source: 'planner', failing: Math.min(bans.size, size), size })
    }
    await clock.sleep(everyMs, signal)
  }
}

/** The YouTube plugin has a planner of its own, of which Lavalink tells nothing. */
export function seesBans({ plugins, product }: Extract<Look, { kind: 'well' }>): boolean {
  return product === 'lavalink' && !plugins.some((name) => /^youtube(-plugin|-source)?$/i.test(name))
}
