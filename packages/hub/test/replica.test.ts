import { createLogger } from '@damon/runtime/logger'
import { eventually } from '@damon/testkit/eventually'
import { Registry } from 'prom-client'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { createMetrics } from '../src/metrics.ts'
import { Replica } from '../src/replica.ts'
import type { RecordChange, StoredRecord } from '../src/store.ts'
import { turn } from './manual-bus.ts'

let replica: Replica
let told: string[]
/** What the next reading of the store brings; each waits for its own outcome where one is set. */
let stored: { revision: number; records: StoredRecord[] }
let readings: number
let reading: Promise<void> | undefined

const log = createLogger({ service: 'test', level: 'silent' })

beforeEach(async () => {
  told = []
  readings = 0
  reading = undefined
  stored = { revision: 10, records: [record('a', 5), record('b', 10)] }
  replica = new Replica({ log, metrics: createMetrics(new Registry()) })
  await replica.start({
    async snapshot() {
      readings++
      const taken = stored
      await reading
      return taken
    },
  })
  replica.onChange((change) =>
    told.push(change.change === 'drop' ? `-${change.key} ${change.reason}` : `${change.change} ${text(change.record)}`),
  )
})

function record(key: string, revision: number, state: StoredRecord['state'] = 'live'): StoredRecord {
  return { key, value: `v${revision}`, revision, generation: revision, leased: true, state }
}
const text = ({ key, value }: StoredRecord) => `${key}=${value}`
const put = (key: string, revision: number): RecordChange => ({ change: 'put', record: record(key, revision) })
const content = () => replica.list('').map(text).sort()

it('begins with what the store has, and follows its changes', () => {
  replica.take(put('c', 11))
  replica.take({ change: 'drop', key: 'a', revision: 12, reason: 'over' })
  expect(content()).toEqual(['b=v10', 'c=v11'])
  expect(told).toEqual(['put c=v11', '-a over'])
  expect(replica.revision).toBe(12)
})

it('takes no change twice, and none that its reading had already', () => {
  replica.take(put('a', 9))
  replica.take(put('a', 11))
  replica.take(put('a', 11))
  expect(told).toEqual(['put a=v11'])
})

describe('a hole in the revisions', () => {
  it('makes it read anew and tell what differs as changes', async () => {
    stored = { revision: 15, records: [record('b', 14, 'suspect'), record('c', 13), record('d', 15)] }
    replica.take(put('d', 15))
    await turn()
    expect(told).toEqual(['-a missed', 'suspect b=v14', 'put c=v13', 'put d=v15'])
    expect([replica.revision, readings]).toEqual([15, 2])
  })

  it('does not lose the changes that come while it reads', async () => {
    const done = Promise.withResolvers<void>()
    reading = done.promise
    stored = { revision: 12, records: [record('a', 5), record('b', 10), record('c', 12)] }
    replica.take(put('c', 12))
    replica.take(put('d', 13))
    replica.take(put('e', 14))
    expect(told).toEqual([])
    done.resolve()
    await turn()
    expect(told).toEqual(['put c=v12', 'put d=v13', 'put e=v14'])
  })

  it('is read for again when the store does not answer at once', async () => {
    reading = Promise.reject(new Error('away'))
    reading.catch(() => undefined)
    replica.take(put('c', 12))
    await turn()
    expect(content()).toEqual(['a=v5', 'b=v10'])
    reading = undefined
    stored = { revision: 12, records: [record('c', 12)] }
    await eventually(() => expect(content()).toEqual(['c=v12']))
  })
})

it('reads once more when the store was lost again while it read', async () => {
  const done = Promise.withResolvers<void>()
  reading = done.promise
  replica.resync()
  stored = { revision: 11, records: [record('z', 11)] }
  replica.resync()
  done.resolve()
  await turn()
  expect(content()).toEqual(['z=v11'])
  expect(readings).toBe(3)
})

describe('a store that counts more changes than the copy has', () => {
  beforeEach(() => {
    vi.useFakeTimers()
    return () => vi.useRealTimers()
  })

  it('makes it read anew when they do not come soon', async () => {
    stored = { revision: 12, records: [record('c', 12)] }
    const compared = replica.compare(12)
    await vi.advanceTimersByTimeAsync(500)
    await compared
    await vi.advanceTimersByTimeAsync(0)
    expect([content(), readings]).toEqual([['c=v12'], 2])
  })

  it('is left alone when they come', async () => {
    const compared = Promise.all([replica.compare(11), replica.compare(10), replica.compare(3)])
    replica.take(put('c', 11))
    await vi.advanceTimersByTimeAsync(500)
    await compared
    expect(readings).toBe(1)
  })
})

it('lets a writer read what it wrote: a revision is reached when the copy has it', async () => {
  const reached: number[] = []
  const waits = [12, 11, 10].map((revision) => replica.reached(revision).then(() => reached.push(revision)))
  await turn()
  expect(reached).toEqual([10])
  replica.take(put('c', 11))
  await turn()
  expect(reached).toEqual([10, 11])
  replica.take(put('c', 12))
  await Promise.all(waits)
  expect(reached).toEqual([10, 11, 12])
})

it('lists what lies under a prefix: a key, or all below it', () => {
  replica.take(put('node/a', 11))
  replica.take(put('node/ab', 12))
  replica.take(put('node', 13))
  expect(replica.list('node/').map(({ key }) => key)).toEqual(['node/a', 'node/ab'])
  expect(replica.list('node/a').map(({ key }) => key)).toEqual(['node/a'])
})
