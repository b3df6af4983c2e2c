import type { Position } from '@damon/protocol/frames'
import { eventually } from '@damon/testkit/eventually'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Batch, Bus } from '../src/bus.ts'
import type { RecordChange, Store, StoreTimes } from '../src/store.ts'
import { frameInPlace, framesOf, headroom, payloadOf } from '../src/ws-frame.ts'

/** One worker of a hub: what it holds and what reached it. */
export interface TestWorker extends AsyncDisposable {
  bus: Bus
  store: Store
  batches: { batch: Batch; stamp: number }[]
  changes: RecordChange[]
  gone: string[]
  over: string[]
  /** Sessions that the store asked for. */
  released: string[]
  tails: Position[]
}

/** A place where workers meet; `testTimes` hold there. */
export interface TestPlace extends AsyncDisposable {
  worker(): Promise<TestWorker>
  /** As the primary does when a worker's process died. */
  bury(worker: TestWorker): Promise<void>
}

/** How long things last in the contract. */
export const testTimes: StoreTimes = { graceMs: 300, awayMs: 300, resumeMs: 1_000 }

let sessions = 0
/** An id that no other has. */
export const newSession = () => (++sessions).toString(16).padStart(16, '0')

/** A batch of requests with these numbers and payloads. */
export function batch(worker: TestWorker, channel: string, prev: number, ...texts: [number, string][]): Batch {
  const frames = texts.map(([, text]) => frameInPlace(Buffer.concat([Buffer.alloc(headroom), Buffer.from(text)]), 2))
  const numbers = texts.map(([number]) => number)
  const bytes = Buffer.concat(frames)
  const [first = 0, last = 0] = [numbers[0], numbers.at(-1)]
  return { channel, origin: worker.bus.origin, prev, first, last, kind: 'request', fast: false, bytes }
}

/** The payloads that reached a worker. */
export const texts = (worker: TestWorker) =>
  worker.batches.flatMap(({ batch }) => [...framesOf(batch.bytes)].map((frame) => payloadOf(frame).toString()))

/** What every bus and store must do; the hub relies on nothing else. */
export function backboneContract(openPlace: () => Promise<TestPlace>): void {
  let place: TestPlace
  let one: TestWorker
  let two: TestWorker

  beforeEach(async () => {
    place = await openPlace()
    one = await place.worker()
    two = await place.worker()
  })
  afterEach(async () => {
    await one[Symbol.asyncDispose]()
    await two[Symbol.asyncDispose]()
    await place[Symbol.asyncDispose]()
  })

  const open = async (worker: TestWorker, subject: string, ...channels: string[]) => {
    const session = newSession()
    await worker.store.openSession({ session, subject, channels })
    return session
  }

  describe('the bus', () => {
    it('gives every worker a number of its own', () => {
      expect(one.bus.origin).toBeGreaterThan(0)
      expect(two.bus.origin).not.toBe(one.bus.origin)
      expect(two.store.epoch).toBe(one.store.epoch)
    })

    it('brings what is appended to every subscriber, the origin too, in order and with its predecessor', async () => {
      await one.bus.subscribe('group/a')
      await two.bus.subscribe('group/a')
      await one.bus.append([batch(one, 'group/a', 0, [1, 'x'], [2, 'y'])], [])
      await one.bus.append([batch(one, 'group/b', 0, [3, 'unseen']), batch(one, 'group/a', 2, [4, 'z'])], [])
      for (const worker of [one, two]) {
        await eventually(() => expect(texts(worker)).toEqual(['x', 'y', 'z']))
        expect(worker.batches.map(({ batch }) => [batch.origin, batch.prev, batch.channel])).toEqual([
          [one.bus.origin, 0, 'group/a'],
          [one.bus.origin, 2, 'group/a'],
        ])
      }
    })

    it('stamps appends of all workers in one rising order', async () => {
      await one.bus.subscribe('all')
      for (let i = 1; i <= 10; i++) {
        const worker = i % 2 ? one : two
        await worker.bus.append([batch(worker, 'all', Math.max(0, i - 2), [i, String(i)])], [])
      }
      await eventually(() => expect(texts(one)).toHaveLength(10))
      const stamps = one.batches.map(({ stamp }) => stamp)
      expect(stamps).toEqual([...stamps].sort((a, b) => a - b))
      expect(new Set(stamps).size).toBe(10)
    })

    it('brings nothing after an unsubscribe', async () => {
      await two.bus.subscribe('group/a')
      await two.bus.subscribe('group/b')
      two.bus.unsubscribe('group/a')
      await two.bus.subscribe('group/c')
      await one.bus.append([batch(one, 'group/a', 0, [1, 'gone']), batch(one, 'group/b', 0, [2, 'here'])], [])
      await eventually(() => expect(texts(two)).toEqual(['here']))
    })

    it('freezes the members of a channel in the step that appends', async () => {
      const a = await open(one, 'bot/a', 'group/bots')
      const b = await open(two, 'bot/b', 'group/bots')
      const [frozen] = await one.bus.append([batch(one, 'group/bots', 0, [1, '?'])], ['group/bots'])
      expect(frozen?.map(({ session, subject }) => [session, subject]).sort()).toEqual([
        [a, 'bot/a'],
        [b, 'bot/b'],
      ])
      expect(await one.bus.append([], ['group/nobody'])).toEqual([[]])
    })

    it('tells from the stamp of a join whether a request came before it', async () => {
      await two.bus.subscribe('group/bots')
      const session = await open(two, 'bot/b')
      await one.bus.append([batch(one, 'group/bots', 0, [1, 'before'])], [])
      const joined = await two.store.join(session, 'group/bots')
      await one.bus.append([batch(one, 'group/bots', 1, [2, 'after'])], [])
      await eventually(() => expect(texts(two)).toEqual(['before', 'after']))
      expect(two.batches.map(({ stamp }) => joined.stamp < stamp)).toEqual([false, true])
    })

    it('refuses an origin that has ended', async () => {
      await place.bury(one)
      await expect(one.bus.append([batch(one, 'all', 0, [1, 'late'])], [])).rejects.toMatchObject({ code: 'fenced' })
      expect(await one.store.renew()).toBe(false)
    })
  })

  describe('sessions', () => {
    it('are members from the start, and after a join until they leave', async () => {
      const session = await open(one, 'bot/a', 'all')
      expect(await two.store.pick('all')).toEqual({ session, subject: 'bot/a' })
      await one.store.join(session, 'group/x')
      expect(await two.store.pick('group/x')).toEqual({ session, subject: 'bot/a' })
      await one.store.leave(session, 'group/x')
      expect(await two.store.pick('group/x')).toBeUndefined()
    })

    it('that end are told to every worker and are members of nothing', async () => {
      const session = await open(one, 'bot/a', 'group/x')
      expect(await two.store.absent([session])).toEqual([])
      await one.store.endSession(session, 'left')
      await eventually(() => expect([one.gone, two.gone]).toEqual([[session], [session]]))
      expect(await two.store.pick('group/x')).toBeUndefined()
      expect(await two.store.absent([session])).toEqual([session])
    })

    it('of a dead worker end with it', async () => {
      const lost = [await open(one, 'bot/a', 'group/x'), await open(one, 'bot/b', 'group/x')]
      const kept = await open(two, 'bot/c', 'group/x')
      await place.bury(one)
      await eventually(() => expect([...two.gone].sort()).toEqual([...lost].sort()))
      expect(await two.store.pick('group/x')).toEqual({ session: kept, subject: 'bot/c' })
    })
  })

  describe('records', () => {
    const put = (worker: TestWorker, owner: string, key: string, value: string, more: object = {}) =>
      worker.store.put({ owner, subject: 'bot/a', key, value, leased: true, ...more })

    it('are told to every worker with revisions that follow one another', async () => {
      const owner = await open(one, 'bot/a')
      await put(one, owner, 'node/a', '1')
      await one.store.patch(owner, 'node/a', '2')
      await one.store.drop({ owner, subject: 'bot/a', key: 'node/a', reason: 'over' })
      await eventually(() => expect(two.changes).toHaveLength(3))
      const revisions = two.changes.map((change) =>
        change.change === 'drop' ? change.revision : change.record.revision,
      )
      expect(revisions.map((revision) => revision - (revisions[0] ?? 0))).toEqual([0, 1, 2])
      expect(two.changes.map((change) => (change.change === 'drop' ? change.reason : change.record.value))).toEqual([
        '1',
        '2',
        'over',
      ])
    })

    it('stand in the snapshot of every worker, bytes unchanged', async () => {
      const value = Buffer.from([0, 10, 255, 128, 13, 10]).toString('latin1')
      await two.store.put({ owner: '', subject: 'certs/a', key: 'cert/a', value, leased: false })
      const { records } = await one.store.snapshot()
      expect(records).toMatchObject([{ key: 'cert/a', leased: false, state: 'live' }])
      expect(records[0]?.value).toBe(value)
    })

    it('keep their generation while the same owner writes, and get a higher one from another', async () => {
      const first = await open(one, 'bot/a')
      const a = await put(one, first, 'node/a', '1')
      const b = await put(one, first, 'node/a', '2')
      const second = await open(two, 'bot/a')
      const c = await put(two, second, 'node/a', '3')
      const generations = [a, b, c].map((written) => ('refused' in written ? written.refused : written.generation))
      expect(generations[1]).toBe(generations[0])
      expect(Number(generations[2])).toBeGreaterThan(Number(generations[0]))
      expect(await one.store.patch(first, 'node/a', 'stale')).toEqual({ refused: 'not_owner' })
      expect(await put(one, first, 'node/a', 'stale', { generation: generations[0] })).toEqual({ refused: 'conflict' })
    })

    it('are written only at the expected revision', async () => {
      const owner = await open(one, 'bot/a')
      const written = await put(one, owner, 'node/a', '1', { expect: 0 })
      expect(await put(one, owner, 'node/a', '2', { expect: 0 })).toEqual({ refused: 'conflict' })
      const revision = 'revision' in written ? written.revision : -1
      expect(await put(one, owner, 'node/a', '2', { expect: revision })).toMatchObject({ revision: revision + 1 })
    })

    it('of a live owner are refused to another subject, until the owner is gone', async () => {
      const owner = await open(one, 'bot/a')
      const other = await open(two, 'bot/b')
      await put(one, owner, 'node/a', '1')
      const take = () => put(two, other, 'node/a', '2', { subject: 'bot/b' })
      expect(await take()).toEqual({ refused: 'not_owner' })
      const drop = { owner: other, subject: 'bot/b', key: 'node/a', reason: 'mine' }
      expect(await two.store.drop(drop)).toEqual({ refused: 'not_owner' })
      await one.store.endSession(owner, 'lost')
      expect(await take()).toHaveProperty('generation')
    })

    it('that are leased go at once when their owner leaves', async () => {
      const owner = await open(one, 'bot/a')
      await put(one, owner, 'node/a', '1')
      await one.store.endSession(owner, 'left')
      await eventually(() => expect(two.changes.at(-1)).toMatchObject({ change: 'drop', reason: 'released' }))
      expect((await two.store.snapshot()).records).toEqual([])
    })

    it('that are leased turn suspect when their owner is lost, and expire after the grace', async () => {
      const owner = await open(one, 'bot/a')
      await put(one, owner, 'node/a', 'value')
      await one.store.endSession(owner, 'lost')
      await eventually(() =>
        expect(two.changes.at(-1)).toMatchObject({ change: 'suspect', record: { key: 'node/a', state: 'suspect' } }),
      )
      const suspect = two.changes.at(-1)
      expect(suspect?.change === 'suspect' && suspect.record.value).toBe('value')
      await eventually(async () => {
        await two.store.sweep()
        expect(two.changes.at(-1)).toMatchObject({ change: 'drop', key: 'node/a', reason: 'expired' })
      })
    })

    it('that are suspect come back to life under their owner, and stay', async () => {
      const owner = await open(one, 'bot/a')
      const first = await put(one, owner, 'node/a', '1')
      await one.store.endSession(owner, 'lost')
      const again = await open(two, 'bot/a')
      const generation = 'generation' in first ? first.generation : 0
      expect(await put(two, again, 'node/a', '2', { generation })).toHaveProperty('revision')
      await two.store.sweep()
      await eventually(() => expect(one.changes.at(-1)).toMatchObject({ change: 'put', record: { state: 'live' } }))
      expect((await one.store.snapshot()).records).toMatchObject([{ key: 'node/a', state: 'live' }])
    })

    it('that are kept outlive their writer', async () => {
      const owner = await open(one, 'certs/a')
      await put(one, owner, 'cert/a', 'sealed', { leased: false })
      await one.store.endSession(owner, 'left')
      await two.store.sweep()
      expect((await two.store.snapshot()).records).toMatchObject([{ key: 'cert/a', state: 'live' }])
    })

    it('that do not exist are neither patched nor dropped', async () => {
      const owner = await open(one, 'bot/a')
      expect(await one.store.patch(owner, 'node/none', '')).toEqual({ refused: 'not_found' })
      const drop = { owner, subject: 'bot/a', key: 'node/none', reason: '' }
      expect(await one.store.drop(drop)).toEqual({ refused: 'not_found' })
    })

    it('are not leased to a session that has ended', async () => {
      const owner = await open(one, 'bot/a')
      await one.store.endSession(owner, 'left')
      expect(await put(one, owner, 'node/a', '1')).toEqual({ refused: 'disconnected' })
    })
  })
}
