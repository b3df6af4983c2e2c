import type { Hub } from '@damon/client/hub'
import { nodeEvents } from '@damon/protocol/audio'
import { damonError } from '@damon/protocol/errors'
import { limits } from '@damon/protocol/limits'
import type { Bots } from './drain.ts'

/** The bots behind the hub: members of the group `bots`, asked by the event `node.drain` with `{node}`. */
export function botsOf(hub: Pick<Hub, 'state' | 'group'>): Bots {
  return {
    async *leave(node, deadlineMs, signal) {
      if (hub.state !== 'connected') throw damonError('disconnected')
      const deadline = Math.min(deadlineMs, limits.deadlineMs)
      const request = hub.group('bots').request(nodeEvents.drain, { node }, { deadline, signal })
      for await (const { service, client, verdict, value, error } of request) {
        yield { client: `${service}/${client}`, verdict, value: value ?? error?.message }
      }
    },
  }
}
