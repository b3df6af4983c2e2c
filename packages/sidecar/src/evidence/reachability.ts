import { isIP } from 'node:net'
import { canonical, isGlobalUnicast } from '@damon/client/unicast-node'
import type { NodeRecord } from '@damon/protocol/records'
import type { AudioNode } from '../audio-node.ts'
import type { Clock } from '../clock.ts'
import type { Outside } from '../outside.ts'

/** How the announced address is proved, times in ms. */
export interface ReachabilityOptions {
  id: string
  outside: Outside
  /** The address that bots are told, and whether the operator named it. */
  target: () => { address: NodeRecord['address']; configured: boolean } | undefined
  /** Between two probes of an address that was reached, */
  everyMs: number
  /** and of one that was not. */
  againMs: number
  clock: Clock
}

/** Has the address tried from outside, again and again, while the node answers here; rejects with the reason of `signal`. */
export async function runReachability(
  node: AudioNode,
  options: ReachabilityOptions,
  signal: AbortSignal,
): Promise<void> {
  const { id, outside, target, everyMs, againMs, clock } = options
  for (;;) {
    await node.until(({ well, health }) => well !== undefined || health.state === 'retired', signal)
    if (node.health.state === 'retired') return
    const place = target()
    const seen = await outside.seen(signal)
    const probed =
      place && mayProbe(place.address.host, { ...place, seen })
        ? await outside.probe({ node: id, address: place.address }, signal)
        : undefined
    if (probed) node.observe({ source: 'probe', ...probed })
    await clock.sleep(probed?.reached ? everyMs : againMs, signal)
  }
}

/** Nobody is asked to connect to whatever a sidecar names: only to where this machine is, as the hub or its operator says. */
export function mayProbe(
  host: string,
  { configured, seen }: { configured: boolean; seen: string | undefined },
): boolean {
  if (isIP(host) === 0) return configured
  return isGlobalUnicast(canonical(host)) && (configured || canonical(host) === seen)
}
