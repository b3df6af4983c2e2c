import type { Hub } from '@damon/client/hub'
import type { RecordStore } from '@damon/client/records'
import { DamonError, damonError } from '@damon/protocol/errors'
import { drainBudget, nodeRecord } from '@damon/protocol/records'
import type { FleetNode, Permission, Slot } from './budget.ts'
import type { Fleet } from './fleet.ts'

const key = 'fleet/drain'
/** How often others may be faster in a row. */
const attempts = 10

/** The fleet behind the hub: the records `node/`, and compare-and-set on `fleet/drain`. */
export function fleetOf(hub: Pick<Hub, 'state'> & RecordStore): Fleet {
  async function change(next: (held: Slot[]) => Promise<Permission>): Promise<Permission> {
    for (let attempt = 1; ; attempt++) {
      const entry = await hub.get(key)
      // What is no budget is replaced: it must not stop the fleet for ever.
      const known = drainBudget.safeParse(entry?.value)
      const permission = await next(known.success ? known.data.slots : [])
      if (!permission.granted) return permission
      try {
        await hub.put(key, { slots: permission.slots }, { expect: entry?.revision ?? 0 })
        return permission
      } catch (error) {
        const overtaken = error instanceof DamonError && error.code === 'conflict'
        if (!overtaken || attempt >= attempts) throw error
      }
    }
  }

  return {
    async claim(decide) {
      // A call would wait for a connection, and a decision on an old picture must not be made.
      if (hub.state !== 'connected') throw damonError('disconnected')
      return change(async (held) => decide(await nodesOf(hub), held))
    },
    async release(node) {
      if (hub.state !== 'connected') throw damonError('disconnected')
      await change(async (held) => {
        const slots = held.filter((slot) => slot.node !== node)
        return slots.length < held.length ? { granted: true, slots } : { granted: false, why: 'there is none' }
      })
    },
  }
}

async function nodesOf(hub: Pick<RecordStore, 'list'>): Promise<FleetNode[]> {
  const entries = await hub.list('node/')
  return entries.flatMap(({ key: name, value, state: lease }) => {
    const record = nodeRecord.safeParse(value)
    if (!record.success) return []
    const { state, load } = record.data
    return [{ id: name.slice('node/'.length), state, playing: load?.playingPlayers ?? 0, live: lease === 'live' }]
  })
}
