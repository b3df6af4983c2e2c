import { digestOf } from '@damon/protocol/digest'
import type { HubControlFrame, HubFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { createLogger } from '@damon/runtime/logger'
import { Registry } from 'prom-client'
import { beforeEach, describe, expect, it } from 'vitest'
import { createMetrics } from '../src/metrics.ts'
import { Replica } from '../src/replica.ts'
import type { StoredRecord } from '../src/store.ts'
import { type Watcher, Watches } from '../src/watches.ts'
import { turn } from './manual-bus.ts'

type RecordsFrame = Extract<HubControlFrame, { type: 'records' }>

const log = createLogger({ service: 'test', level: 'silent' })
let replica: Replica
let watches: Watches
let revision: number
/** What the store brings when it is read anew. */
let stored: { revision: number; records: StoredRecord[] }

beforeEach(async () => {
  replica = new Replica({ log, metrics: createMetrics(new Registry()) })
  stored = { revision: 0, records: [] }
  await replica.start({ snapshot: async () => stored })
  watches = new Watches(replica)
  revision = 0
})

function put(key: string, value: string = 'x', state: StoredRecord['state'] = 'live'): void {
  revision++
  const record = { key, value, revision, generation: revision, leased: true, state }
  replica.take({ change: state === 'suspect' ? 'suspect' : 'put', record })
}
function drop(key: string, reason: string): void {
  replica.take({ change: 'drop', key, revision: ++revision, reason })
}

/** A watcher that takes so many frames, and what it makes of them, as a client would. */
function watcher(room = Number.POSITIVE_INFINITY) {
  const frames: RecordsFrame[] = []
  const view = new Map<string, string>()
  const made: Watcher & { room: number; frames: RecordsFrame[]; view: Map<string, string> } = {
    room,
    frames,
    view,
    offer(frame: HubFrame) {
      if (made.room === 0) return false
      made.room--
      const records = frame as RecordsFrame
      frames.push(records)
      if (records.reset) view.clear()
      let at = 0
      for (const { key, change, size } of records.entries) {
        if (change === 'drop') view.delete(key)
        else view.set(key, Buffer.from(records.payload?.subarray(at, at + size) ?? []).toString())
        at += size
      }
      return true
    },
  }
  return made
}
const entries = ({ entries }: RecordsFrame) => entries.map(({ key, change, reason }) => [key, change, reason])

it('begins with a snapshot of its prefix, then tells every change under it', () => {
  put('node/a', '1')
  put('node/b', '2', 'suspect')
  put('other', '3')
  const one = watcher()
  watches.add(one, 9, 'node/')
  put('node/a', '4')
  put('other', '5')
  drop('node/b', 'over')
  expect(
    one.frames.map(({ id, snapshot, reset, more, revision }) => ({ id, snapshot, reset, more, revision })),
  ).toEqual([
    { id: 9, snapshot: true, reset: true, more: false, revision: 3 },
    { id: 9, snapshot: false, reset: false, more: false, revision: 4 },
    { id: 9, snapshot: false, reset: false, more: false, revision: 6 },
  ])
  expect(one.frames.map(entries)).toEqual([
    [
      ['node/a', 'put', undefined],
      ['node/b', 'suspect', undefined],
    ],
    [['node/a', 'put', undefined]],
    [['node/b', 'drop', 'over']],
  ])
  expect([...one.view]).toEqual([['node/a', '4']])
})

it('of nothing is a snapshot of nothing', () => {
  const one = watcher()
  watches.add(one, 1, 'node/')
  expect(one.frames).toMatchObject([{ snapshot: true, reset: true, more: false, entries: [] }])
})

it('ends with unwatch and with its session, which may have several', () => {
  const one = watcher()
  watches.add(one, 1, 'a/')
  watches.add(one, 2, 'b/')
  expect([watches.count(one), watches.has(one, 1), watches.has(one, 3)]).toEqual([2, true, false])
  watches.remove(one, 1)
  put('a/x')
  put('b/x')
  expect(one.frames.map(({ id }) => id)).toEqual([1, 2, 2])
  watches.removeAll(one)
  put('b/x')
  expect([one.frames.length, watches.count(one)]).toEqual([3, 0])
})

it('ends when the rights no longer cover its prefix', () => {
  const one = watcher()
  watches.add(one, 1, 'a/')
  watches.add(one, 2, 'b/')
  expect(watches.recheck(one, (prefix) => prefix === 'b/').map(({ id }) => id)).toEqual([1])
  expect(watches.has(one, 1)).toBe(false)
})

it('gives every byte of a value as it was written', () => {
  const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  put('a', all.toString('latin1'))
  const one = watcher()
  watches.add(one, 1, 'a')
  put('a', all.toString('latin1'))
  expect(one.frames.map(({ payload }) => all.equals(payload ?? new Uint8Array()))).toEqual([true, true])
})

describe('the digest of a watch', () => {
  const expected = (prefix: string) => digestOf(replica.list(prefix))

  it('follows every change under its prefix, for all who watch it', () => {
    put('node/a')
    const [one, two] = [watcher(), watcher()]
    watches.add(one, 1, 'node/')
    put('node/b')
    watches.add(two, 7, 'node/')
    watches.add(two, 8, '')
    watches.add(two, 9, 'node/a')
    put('node/a', 'y', 'suspect')
    drop('node/b', 'over')
    put('other')
    expect(watches.digests(one)).toEqual({ 1: expected('node/') })
    expect(watches.digests(two)).toEqual({ 7: expected('node/'), 8: expected(''), 9: expected('node/a') })
    watches.removeAll(one)
    put('node/z')
    expect(watches.digests(one)).toBeUndefined()
    expect(watches.digests(two)).toMatchObject({ 7: expected('node/') })
  })

  it('is said to nobody who has not been told all', () => {
    const slow = watcher(1)
    watches.add(slow, 1, '')
    expect(watches.digests(slow)).toEqual({ 1: expected('') })
    put('a')
    expect(watches.digests(slow)).toEqual({})
    slow.room = 9
    watches.drained(slow)
    expect(watches.digests(slow)).toEqual({ 1: expected('') })
  })
})

describe('a watcher that comes back', () => {
  it('is told only what changed since, drops too, of each record what it is now', () => {
    for (const key of ['node/a', 'node/b', 'node/c', 'x']) put(key, '1')
    const since = revision
    put('node/b', '2')
    put('node/b', '3')
    put('x', '2')
    drop('node/a', 'over')
    const one = watcher()
    expect(watches.add(one, 1, 'node/', since)).toBe('changes')
    put('node/d')
    expect(one.frames.map(({ snapshot, reset, revision }) => [snapshot, reset, revision])).toEqual([
      [true, false, revision - 1],
      [false, false, revision],
    ])
    expect(one.frames.map(entries)[0]).toEqual([
      ['node/b', 'put', undefined],
      ['node/a', 'drop', 'over'],
    ])
    expect(one.view.get('node/b')).toBe('3')
  })

  it('with nothing new is told that', () => {
    put('node/a')
    const one = watcher()
    expect(watches.add(one, 1, '', revision)).toBe('changes')
    expect(one.frames).toMatchObject([{ snapshot: true, reset: false, more: false, revision, entries: [] }])
  })

  it('gets a new snapshot when too much has changed, or when it comes from a future that is not known here', async () => {
    replica = new Replica({ log, metrics: createMetrics(new Registry()), history: 3 })
    await replica.start({ snapshot: async () => ({ revision: 0, records: [] }) })
    watches = new Watches(replica)
    put('a', '1')
    const since = revision
    for (let i = 0; i < 10; i++) put('b', String(i))
    const one = watcher()
    expect(watches.add(one, 1, '', since)).toBe('snapshot')
    expect(watches.add(one, 2, '', revision + 1)).toBe('snapshot')
    expect(one.frames.map(({ reset, entries }) => [reset, entries.length])).toEqual([
      [true, 2],
      [true, 2],
    ])
  })

  it('after this copy was read anew is told all that the reading found, whenever it really was', async () => {
    put('a', '1')
    put('b', '1')
    const since = revision
    const record = {
      key: 'c',
      value: '9',
      revision: 9,
      generation: 9,
      leased: true,
      state: 'live',
    } as const
    const one = watcher()
    watches.add(one, 1, '')
    stored = { revision: 12, records: [record] }
    replica.resync()
    await turn()
    // Cut off in the middle of it, a watcher must not believe that it had all up to there.
    expect(one.frames.slice(1).map(({ revision }) => revision)).toEqual([since, since, since])
    const two = watcher()
    expect(watches.add(two, 1, '', since)).toBe('changes')
    expect(
      two.frames
        .flatMap(entries)
        .map(([key, change]) => `${change} ${key}`)
        .sort(),
    ).toEqual(['drop a', 'drop b', 'put c'])
    expect(watches.digests(one)).toEqual({ 1: digestOf([record]) })
  })
})

describe('a large snapshot', () => {
  beforeEach(() => {
    for (let i = 0; i < 600; i++) put(`node/n${i}`, String(i))
  })

  it('comes in frames of few entries, `more` on all but the last', async () => {
    const one = watcher()
    watches.add(one, 1, 'node/')
    await turn()
    expect(one.frames.map(({ entries, reset, more }) => [entries.length, reset, more])).toEqual([
      [limits.recordsPerFrame, true, true],
      [limits.recordsPerFrame, false, true],
      [600 - 2 * limits.recordsPerFrame, false, false],
    ])
    expect(one.view.size).toBe(600)
  })

  it('takes a turn of the event loop for each frame, and those who watch take turns', async () => {
    const [one, other] = [watcher(), watcher()]
    watches.add(one, 1, 'node/')
    watches.add(other, 1, 'node/')
    const counts = []
    for (let i = 0; i < 5; i++) {
      counts.push([one.frames.length, other.frames.length])
      await new Promise(setImmediate)
    }
    expect(counts).toEqual([
      [1, 1],
      [2, 1],
      [2, 2],
      [3, 2],
      [3, 3],
    ])
  })

  it('is followed by what changed meanwhile, and by nothing when nobody watches any more', async () => {
    const [one, other] = [watcher(), watcher()]
    watches.add(one, 1, 'node/')
    watches.add(other, 1, 'node/')
    put('node/n1', 'changed')
    drop('node/n599', 'over')
    watches.remove(other, 1)
    await turn()
    expect(one.frames.map(({ snapshot, more }) => [snapshot, more])).toEqual([
      [true, true],
      [true, true],
      [true, false],
      [false, false],
      [false, false],
    ])
    expect([one.view.get('node/n1'), one.view.size, other.frames.length]).toEqual(['changed', 599, 1])
  })

  it('and of few bytes', async () => {
    for (let i = 0; i < 9; i++) put(`large/l${i}`, 'x'.repeat(limits.recordBytes))
    const one = watcher()
    watches.add(one, 1, 'large/')
    await turn()
    expect(one.frames.length).toBeGreaterThan(2)
    for (const { payload } of one.frames) expect(payload?.length).toBeLessThanOrEqual(limits.frameBytes)
  })

  it('is continued, not begun anew, when a slow session takes frames again', () => {
    const slow = watcher(1)
    watches.add(slow, 1, 'node/')
    for (let i = 0; i < 3; i++) {
      put('node/n1', `changed ${i}`)
      slow.room = 1
      watches.drained(slow)
    }
    expect(slow.frames.map(({ snapshot, more }) => [snapshot, more])).toEqual([
      [true, true],
      [true, true],
      [true, false],
      [false, false],
    ])
    expect(slow.view.get('node/n1')).toBe('changed 2')
    expect(slow.frames.filter(({ reset }) => reset)).toHaveLength(1)
  })
})

describe('a slow watcher', () => {
  it('gets of each record only what it is when the session takes frames again, in the order of revisions', () => {
    const slow = watcher()
    watches.add(slow, 1, '')
    slow.room = 1
    put('a', '1')
    put('b', '1')
    for (let i = 2; i < 9; i++) put('a', String(i))
    put('c', '1')
    drop('c', 'over')
    slow.room = 100
    watches.drained(slow)
    put('d', '1')
    expect(slow.frames.slice(1).flatMap(entries)).toEqual([
      ['a', 'put', undefined],
      ['b', 'put', undefined],
      ['a', 'put', undefined],
      ['c', 'drop', 'over'],
      ['d', 'put', undefined],
    ])
    const revisions = slow.frames.map(({ revision }) => revision)
    expect(revisions).toEqual(revisions.toSorted((x, y) => x - y))
    expect(Object.fromEntries(slow.view)).toEqual({ a: '8', b: '1', d: '1' })
  })

  it('costs the others nothing', () => {
    const [slow, quick] = [watcher(1), watcher()]
    watches.add(slow, 1, '')
    watches.add(quick, 1, '')
    for (let i = 0; i < 50; i++) put('a', String(i))
    expect([slow.frames.length, quick.frames.length]).toEqual([1, 51])
  })
})
