import type { Hub } from '@damon/client/hub'
import { nodeEvents, nodeProbed } from '@damon/protocol/audio'
import type { Outside } from './outside.ts'
import type { Whereabouts } from './whereabouts.ts'

const probeMs = 10_000

/** The bots behind the hub, of which any one tries; `seen` is where the hub sees this machine. */
export function outsideOf(hub: Pick<Hub, 'state' | 'any'>, seen: Whereabouts): Outside {
  return {
    async seen(signal) {
      if (hub.state !== 'connected') return undefined
      // After a reconnect it may be another. Without the right to read the record nobody knows.
      await seen.refresh(signal).catch(() => signal.throwIfAborted())
      return seen.hosts()?.[0]
    },
    async probe(target, signal) {
      if (hub.state !== 'connected') return undefined
      try {
        const answers = await hub.any('bots').request(nodeEvents.probe, target, { deadline: probeMs, signal })
        const answer = answers.find(({ verdict }) => verdict === 'answered')
        const probed = nodeProbed.safeParse(answer?.value)
        if (!answer || !probed.success) return undefined
        const { reached, reason } = probed.data
        return { by: `${answer.service}/${answer.client}`, reached, ...(reason !== undefined && { reason }) }
      } catch {
        signal.throwIfAborted()
        return undefined
      }
    },
  }
}
