import type { RecordEntry } from '@damon/client/record-entry'
import { damonError } from '@damon/protocol/errors'
import { expect, test } from 'vitest'
import { mayRetire, type Slot } from '../src/budget.ts'
import { fleetOf } from '../src/fleet-hub.ts'
import { defaultThresholds as limits } from '../src/thresholds.ts'

const record = (state: string) => ({
  state,
  reasons: [],
  since: 1,
  address: { host: 'a.example', port: 2333, secure: false },
  version: '4.2.2',
  api: 'v4',
  load: null,
})

/** What several sidecars share of a hub: records, and writes that count revisions. */
class SharedHub {
  readonly state = 'connected'
  readonly records = new Map<string, { value: unknown; revision: number }>()
  #revision = 0

  set(key: string, value: unknown): void {
    this.records.set(key, { value, revision: ++this.#revision })
  }

  async get(key: string): Promise<RecordEntry | undefined> {
    const known = this.records.get(key)
    return known && entry(key, known)
  }

  async list(prefix: string): Promise<RecordEntry[]> {
    return [...this.records].flatMap(([key, known]) => (key.startsWith(prefix) ? [entry(key, known)] : []))
  }

  async put(key: string, value: unknown, { expect: revision }: { expect?: number } = {}) {
    if (revision !== (this.records.get(key)?.revision ?? 0)) throw damonError('conflict')
    this.set(key, structuredClone(value))
    return { revision: this.#revision, generation: 1 }
  }

  get slots(): Slot[] {
    const { value } = this.records.get('fleet/drain') ?? {}
    return (value as { slots: Slot[] }).slots
  }
}

function entry(key: string, known: { value: unknown; revision: number }): RecordEntry {
  return { key, ...known, bytes: new Uint8Array(), generation: 1, state: 'live', leased: true }
}

function claim(hub: SharedHub, node: string) {
  const wish = { node, sidecar: `sidecar/${node}`, until: 2_000 }
  return fleetOf(hub).claim((nodes, held) => mayRetire(wish, nodes, held, { now: 1_000, limits, patient: false }))
}

test('of many sidecars that ask at the same moment, as many are allowed as the budget has', async () => {
  const hub = new SharedHub()
  const spent = ['a', 'b', 'c']
  for (const id of [...spent, 'd', 'e', 'f', 'g', 'h'])
    hub.set(`node/${id}`, record(spent.includes(id) ? 'exhausted' : 'ready'))
  const permissions = await Promise.all(spent.map((id) => claim(hub, id)))
  expect(permissions.filter(({ granted }) => granted)).toHaveLength(2)
  expect(hub.slots).toHaveLength(2)
})

test('a slot is given back once, and others stay', async () => {
  const hub = new SharedHub()
  for (const id of ['a', 'b']) hub.set(`node/${id}`, record(id === 'a' ? 'exhausted' : 'ready'))
  await claim(hub, 'a')
  const fleet = fleetOf(hub)
  await fleet.release('b')
  expect(hub.slots).toHaveLength(1)
  await fleet.release('a')
  await fleet.release('a')
  expect(hub.slots).toEqual([])
})

test('a record that is no budget, or a node that is none, stops nobody', async () => {
  const hub = new SharedHub()
  hub.set('fleet/drain', 'nonsense')
  hub.set('node/x', { state: 'moon' })
  for (const id of ['a', 'b']) hub.set(`node/${id}`, record(id === 'a' ? 'exhausted' : 'ready'))
  expect(await claim(hub, 'a')).toMatchObject({ granted: true })
})

test('nobody may retire without the hub', async () => {
  const hub = Object.assign(new SharedHub(), { state: 'reconnecting' as const })
  await expect(fleetOf(hub).claim(() => ({ granted: true, slots: [] }))).rejects.toMatchObject({ code: 'disconnected' })
})
