import type { Logger } from '@damon/runtime/logger'
import type { AudioNode } from '../audio-node.ts'
import type { Clock } from '../clock.ts'
import type { Health } from '../decision.ts'
import type { Lavalink, TrackLoad } from '../lavalink.ts'

/** How known tracks are loaded as a test, all times in ms. */
export interface CanaryOptions {
  lavalink: Pick<Lavalink, 'loadTrack'>
  /** Identifiers that are there for years; each in turn, so that no two results in a row are about the same. */
  tracks: readonly string[]
  /** Between two tests of a node that is well. */
  everyMs: number
  /** Between two tests of which the last surprised. */
  againMs: number
  clock: Clock
  /** From 0 to 1: a fleet must not ask in step. */
  random: () => number
  log: Logger
}

/** Loads the tracks in turn, while the node answers and is in use; rejects with the reason of `signal`. */
export async function runCanary(node: AudioNode, options: CanaryOptions, signal: AbortSignal): Promise<void> {
  const { lavalink, tracks, clock, random, log } = options
  for (let turn = Math.floor(random() * tracks.length); ; turn++) {
    await node.until(({ well, health }) => well !== undefined || health.state === 'retired', signal)
    if (node.health.state === 'retired') return
    const track = tracks[turn % tracks.length] ?? ''
    const load = await lavalink.loadTrack(track, signal)
    if (load.kind === 'unknown') log.debug({ track, reason: load.reason }, 'the canary says nothing')
    else node.observe({ source: 'canary', track, load })
    await clock.sleep(canaryPause(node.health, load, options) * (2 / 3 + (2 / 3) * random()), signal)
  }
}

/** Soon again while the next result may change the state; a spent address is not asked more than it must. */
export function canaryPause(
  { state }: Health,
  load: TrackLoad,
  { everyMs, againMs }: Pick<CanaryOptions, 'everyMs' | 'againMs'>,
): number {
  const expected = state === 'ready' ? load.kind === 'loaded' : state === 'exhausted' && load.kind !== 'loaded'
  return expected || state === 'draining' ? everyMs : Math.min(againMs, everyMs)
}
