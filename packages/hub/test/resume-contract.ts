import { eventually } from '@damon/testkit/eventually'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { everyChannel, type Logged, type Range } from '../src/bus.ts'
import type { Taken } from '../src/store.ts'
import { batch, newSession, type TestPlace, type TestWorker, testTimes, texts } from './backbone-contract.ts'

const ticket = 'digest'
const mebibyte = 1024 * 1024
const lostSince = (taken: Taken) => ('refused' in taken ? taken.refused : taken.lost)

/** What a session that changes its worker relies on. */
export function resumeContract(openPlace: () => Promise<TestPlace>): void {
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

  const open = async (worker: TestWorker, ...channels: string[]) => {
    const session = newSession()
    await worker.store.openSession({ session, subject: 'bot/a', channels, ticket })
    return session
  }
  const take = (worker: TestWorker, session: string, ...channels: string[]) =>
    worker.store.takeOver({ session, subject: 'bot/a', channels, ticket })
  const head = (heads: { origin: number; to: string; seq: number }[], worker: TestWorker, to: string) =>
    heads.find((one) => one.origin === worker.bus.origin && one.to === to)?.seq
  const range = (worker: TestWorker, to: string, from: number, until: number): Range => ({
    origin: worker.bus.origin,
    to,
    from,
    until,
  })
  const numbers = (batches: Logged[]) => batches.map(({ batch }) => [batch.first, batch.last])
  /** Sweeps until it is so. */
  const sweptUntil = (check: () => unknown) =>
    eventually(async () => {
      await two.store.sweep()
      await check()
    })

  describe('the heads of channels', () => {
    it('are told to a new member as they were when it became one', async () => {
      await one.bus.append([batch(one, 'group/a', 0, [1, 'x'], [2, 'y']), batch(one, 'group/b', 0, [3, 'z'])], [])
      await two.bus.append([batch(two, 'group/a', 0, [1, 'x'])], [])
      const { heads } = await two.store.openSession({ session: newSession(), subject: 'bot/a', channels: ['group/a'] })
      expect([head(heads, one, 'group/a'), head(heads, two, 'group/a'), head(heads, one, 'group/b')]).toEqual([
        2,
        1,
        undefined,
      ])
      const joined = await one.store.join(await open(one), 'group/b')
      expect(joined.heads).toEqual([{ origin: one.bus.origin, to: 'group/b', seq: 3 }])
    })

    it('are told to whoever asks once everything up to there has arrived', async () => {
      await two.bus.subscribe('group/a')
      const text = 'x'.repeat(100_000)
      await Promise.all(
        Array.from({ length: 40 }, (_, i) => one.bus.append([batch(one, 'group/a', i, [i + 1, text])], [])),
      )
      const heads = await two.bus.heads(['group/none', ...Array.from({ length: 300 }, (_, i) => `g/${i}`), 'group/a'])
      expect(two.batches.at(-1)?.batch.last).toBe(40)
      expect(heads).toEqual([{ origin: one.bus.origin, to: 'group/a', seq: 40 }])
    })

    it('outlive their origin', async () => {
      await one.bus.append([batch(one, 'group/a', 0, [1, 'x'])], [])
      await place.bury(one)
      const { heads } = await two.store.join(await open(two), 'group/a')
      expect(head(heads, one, 'group/a')).toBe(1)
    })

    it('that were forgotten are answered by a number that is not below any of them', async () => {
      await one.bus.append([batch(one, 'group/a', 0, [1, 'x']), batch(one, 'group/b', 0, [2, 'y'])], [])
      await one.bus.append([batch(one, 'group/c', 0, [3, 'z'])], [])
      one.bus.forget(['group/a', 'group/b'])
      await one.bus.append([], [])
      const { heads } = await one.store.openSession({
        session: newSession(),
        subject: 'bot/a',
        channels: ['group/a', 'group/c'],
      })
      expect([head(heads, one, 'group/a'), head(heads, one, 'group/c')]).toEqual([2, 3])
    })
  })

  describe('the log', () => {
    it('gives the batches of a range back, in the order of all appends', async () => {
      await one.bus.append([batch(one, 'group/a', 0, [1, 'a'], [2, 'b']), batch(one, 'group/b', 0, [3, 'c'])], [])
      await two.bus.append([batch(two, 'group/a', 0, [1, 'd'])], [])
      await one.bus.append([batch(one, 'group/a', 2, [4, 'e'])], [])
      await one.bus.append([batch(one, 'group/a', 4, [5, 'f'])], [])
      const { batches, missing } = await two.bus.read(
        [range(one, 'group/a', 2, 4), range(two, 'group/a', 1, 9)],
        mebibyte,
      )
      expect(texts({ ...two, batches })).toEqual(['a', 'b', 'd', 'e'])
      expect(batches.map(({ stamp }) => stamp)).toEqual([...batches.map(({ stamp }) => stamp)].sort((a, b) => a - b))
      expect(missing).toEqual([])
    })

    it('of a dead worker can still be read', async () => {
      await one.bus.append([batch(one, 'group/a', 0, [1, 'a'])], [])
      await place.bury(one)
      const { batches } = await two.bus.read([range(one, 'group/a', 1, 1)], mebibyte)
      expect(numbers(batches)).toEqual([[1, 1]])
    })

    it('gives whatever an origin put on any channel behind a number', async () => {
      const [a, b] = [batch(one, 'group/a', 0, [1, 'a'], [3, 'c']), batch(one, 'group/b', 0, [2, 'b'])]
      await one.bus.append([a, b], [])
      await two.bus.append([batch(two, 'group/a', 0, [3, 'not asked for'])], [])
      await one.bus.append([batch(one, 'group/c', 0, [4, 'd'])], [])
      const { batches, missing } = await two.bus.read([range(one, everyChannel, 3, 99)], mebibyte)
      expect([texts({ ...two, batches }), missing]).toEqual([['a', 'c', 'd'], []])
      expect(await two.bus.read([range(one, everyChannel, 5, 99)], mebibyte)).toEqual({ batches: [], missing: [] })
    })

    it('that nobody knows is missing', async () => {
      const unknown = { origin: one.bus.origin + 1_000, to: 'group/a', from: 1, until: 7 }
      expect(await one.bus.read([unknown], mebibyte)).toEqual({ batches: [], missing: [unknown] })
    })

    it('does not miss what was never appended', async () => {
      await one.bus.append([batch(one, 'group/a', 0, [1, 'a'])], [])
      await one.bus.append([batch(one, 'group/a', 5, [6, 'b'])], [])
      const { batches, missing } = await two.bus.read([range(one, 'group/a', 2, 6)], mebibyte)
      expect([numbers(batches), missing]).toEqual([[[6, 6]], []])
    })

    it('says what was trimmed, and where it begins', async () => {
      const text = 'x'.repeat(mebibyte)
      const count = 80
      for (let seq = 1; seq <= count; seq++) {
        await one.bus.append([batch(one, 'group/a', seq - 1, [seq, seq === count ? 'last' : text])], [])
        // As a worker does; this much may take longer than a lease.
        await Promise.all([one.store.renew(), two.store.renew()])
      }
      await one.bus.append([batch(one, 'group/b', 0, [count + 1, 'b'])], [])
      const { batches, missing } = await two.bus.read([range(one, 'group/a', 1, count)], 256 * mebibyte)
      const first = batches[0]?.batch.first ?? 0
      expect(first).toBeGreaterThan(1)
      expect(missing).toEqual([range(one, 'group/a', 1, first - 1)])
      const trimmed = range(one, everyChannel, first - 1, first - 1)
      expect((await two.bus.read([trimmed], mebibyte)).missing).toEqual([trimmed])
      expect(numbers(batches)).toEqual(Array.from({ length: count + 1 - first }, (_, i) => [first + i, first + i]))
      // Where the channel's first batch that is left follows what was seen, nothing is missing.
      expect((await two.bus.read([range(one, 'group/a', first, count)], mebibyte)).missing).not.toContainEqual(
        expect.objectContaining({ from: 1 }),
      )
      expect((await two.bus.read([range(one, 'group/b', 1, count + 1)], mebibyte)).missing).toEqual([])
      expect((await two.bus.read([range(one, 'group/c', 1, count + 1)], mebibyte)).missing).toEqual([])
    })

    it('gives no more than was asked for, and says what is missing for that', async () => {
      const text = 'x'.repeat(1_000)
      for (let seq = 1; seq <= 10; seq++) await one.bus.append([batch(one, 'group/a', seq - 1, [seq, text])], [])
      const { batches, missing } = await two.bus.read([range(one, 'group/a', 1, 10)], 3_500)
      const last = batches.at(-1)?.batch.last ?? 0
      expect(last).toBeLessThan(10)
      expect(last).toBeGreaterThan(1)
      expect(missing).toEqual([range(one, 'group/a', last + 1, 10)])
    })

    it('takes what is appended a second time only once', async () => {
      await two.bus.subscribe('group/a')
      const twice = [batch(one, 'group/a', 0, [1, 'x'])]
      await one.bus.append(twice, [])
      await one.bus.append(twice, [])
      await one.bus.append([batch(one, 'group/a', 1, [2, 'y'])], [])
      await eventually(() => expect(texts(two)).toEqual(['x', 'y']))
      expect(numbers((await two.bus.read([range(one, 'group/a', 1, 2)], mebibyte)).batches)).toEqual([
        [1, 1],
        [2, 2],
      ])
    })
  })

  describe('taking a session over', () => {
    it('succeeds once its owner has released it, with what was done, and makes it a member anew', async () => {
      const session = await open(one, 'group/a', 'group/b')
      await one.bus.append([batch(one, `session/${session}`, 0, [1, 'verdict'])], [])
      await one.store.release(session, 17)
      const taken = await take(two, session, 'group/b', 'group/c')
      expect(taken).toMatchObject({ done: 17, owner: one.bus.origin })
      expect('heads' in taken && head(taken.heads, one, `session/${session}`)).toBe(1)
      const members = await Promise.all(['group/a', 'group/b', 'group/c'].map((channel) => one.store.pick(channel)))
      expect(members.map((member) => member?.session)).toEqual([undefined, session, session])
      expect(one.gone).toEqual([])
    })

    it('resolves after everything that was appended before has arrived', async () => {
      const session = await open(one, 'all')
      await two.bus.subscribe('all')
      await one.store.release(session, 0)
      const text = 'x'.repeat(100_000)
      const appends = Array.from({ length: 40 }, (_, i) => one.bus.append([batch(one, 'all', i, [i + 1, text])], []))
      await Promise.all(appends)
      const taken = await take(two, session, 'all')
      expect(two.batches.at(-1)?.batch.last).toBe(40)
      expect('heads' in taken && head(taken.heads, one, 'all')).toBe(40)
    })

    it('is refused while another worker holds its line, and that worker is asked for it', async () => {
      const session = await open(one, 'all')
      expect(await take(two, session, 'all')).toEqual({ refused: 'busy', owner: one.bus.origin })
      await eventually(() => expect(one.released).toEqual([session]))
      await one.store.release(session, 3)
      expect(await take(two, session, 'all')).toMatchObject({ done: 3 })
      expect(await take(one, session, 'all')).toEqual({ refused: 'busy', owner: two.bus.origin })
    })

    it('is refused to another subject, another ticket, and where nobody ever was', async () => {
      const session = await open(one, 'all')
      await one.store.release(session, 0)
      const entry = { session, subject: 'bot/a', channels: ['all'], ticket }
      const wrong = [{ subject: 'bot/b' }, { ticket: 'other' }, { ticket: '' }, { session: newSession() }]
      for (const one of wrong)
        expect(await two.store.takeOver({ ...entry, ...one })).toEqual({ refused: 'unknown_session' })
      expect(await two.store.takeOver(entry)).toHaveProperty('done')
    })

    it('is refused for a session that cannot be taken over', async () => {
      const session = newSession()
      await one.store.openSession({ session, subject: 'bot/a', channels: [] })
      await one.store.release(session, 0)
      await eventually(() => expect([two.gone, two.over]).toEqual([[session], [session]]))
      expect(await take(two, session)).toEqual({ refused: 'unknown_session' })
    })

    it('succeeds when its worker is dead, from anywhere, again and again', async () => {
      const session = await open(one, 'group/a')
      await one.bus.append([batch(one, 'group/a', 0, [1, 'x'])], [])
      await place.bury(one)
      const taken = await take(two, session, 'group/a')
      expect(taken).toMatchObject({ owner: one.bus.origin, done: 0 })
      expect('heads' in taken && head(taken.heads, one, 'group/a')).toBe(1)
      await two.store.release(session, 5)
      const three = await place.worker()
      expect(await take(three, session, 'group/a')).toMatchObject({ owner: two.bus.origin, done: 5 })
      await three[Symbol.asyncDispose]()
    })

    it('succeeds when its worker was fenced, which can then neither append nor release', async () => {
      const session = await open(one, 'group/a')
      await two.store.fence(one.bus.origin)
      expect(await take(two, session, 'group/a')).toMatchObject({ owner: one.bus.origin })
      await expect(one.bus.append([batch(one, 'group/a', 0, [1, 'x'])], [])).rejects.toMatchObject({ code: 'fenced' })
      await one.store.release(session, 99).catch(() => undefined)
      await expect(take(one, session, 'group/a')).rejects.toMatchObject({ code: 'fenced' })
      expect(await two.store.absent([session])).toEqual([])
      await two.store.release(session, 1)
      expect(await take(two, session, 'group/a')).toMatchObject({ done: 1 })
    })

    it('is undone by no release of a worker that had it before', async () => {
      const session = await open(one, 'group/a')
      await one.store.release(session, 2)
      await take(two, session, 'group/a')
      await one.store.release(session, 50)
      expect(await take(one, session, 'group/a')).toEqual({ refused: 'busy', owner: two.bus.origin })
    })
  })

  describe('a session whose line is gone', () => {
    const lease = (worker: TestWorker, owner: string, key: string) =>
      worker.store.put({ owner, subject: 'bot/a', key, value: '1', leased: true })

    it('is there for a while, then lost, then over with its service record', async () => {
      const session = await open(one, 'group/a')
      const service = `service/bot/a/${session}`
      await lease(one, session, service)
      await one.store.release(session, 0)
      expect(await two.store.pick('group/a')).toMatchObject({ session })
      expect(await two.store.absent([session])).toEqual([])
      expect((await two.store.snapshot()).records).toMatchObject([{ state: 'live' }])
      await sweptUntil(() => expect(two.gone).toEqual([session]))
      expect(await two.store.pick('group/a')).toBeUndefined()
      expect(await two.store.absent([session])).toEqual([session])
      expect(two.over).toEqual([])
      await sweptUntil(() => expect(two.over).toEqual([session]))
      expect(two.gone).toEqual([session])
      expect(two.changes.at(-1)).toMatchObject({ change: 'drop', key: service, reason: 'expired' })
      expect(await take(two, session, 'group/a')).toEqual({ refused: 'unknown_session' })
    })

    it('is told, when it is taken over, since when requests did not concern it', async () => {
      const session = await open(one, 'group/a')
      await one.store.release(session, 0)
      expect(lostSince(await take(two, session, 'group/a'))).toBeUndefined()
      await two.store.endSession(session, 'lost')
      await two.bus.subscribe('group/a')
      await two.bus.append([batch(two, 'group/a', 0, [1, 'x'])], [])
      await eventually(() => expect(two.batches).toHaveLength(1))
      const taken = await take(one, session, 'group/a')
      const stamp = two.batches[0]?.stamp ?? 0
      expect(lostSince(taken)).toBeLessThan(stamp)
      expect('stamp' in taken && taken.stamp).toBeGreaterThanOrEqual(stamp)
      await one.store.release(session, 0)
      expect(lostSince(await take(two, session, 'group/a'))).toBeUndefined()
    })

    it('has its records live again when it is taken over late, of the same generation', async () => {
      const session = await open(one, 'group/a')
      const written = await lease(one, session, 'node/a')
      await one.store.endSession(session, 'lost')
      await eventually(() => expect(two.changes.at(-1)).toMatchObject({ change: 'suspect' }))
      expect(await take(two, session, 'group/a')).toMatchObject({ leases: ['node/a'] })
      await eventually(() => expect(two.changes.at(-1)).toMatchObject({ change: 'put' }))
      const { records } = await one.store.snapshot()
      expect(records).toMatchObject([
        { key: 'node/a', state: 'live', generation: 'generation' in written ? written.generation : 0 },
      ])
      expect(records[0]?.value).toBe('1')
      expect(await two.store.patch(session, 'node/a', '2')).toHaveProperty('revision')
      expect(await two.store.absent([session])).toEqual([])
      const until = performance.now() + testTimes.graceMs * 1.5
      await sweptUntil(() => expect(performance.now()).toBeGreaterThan(until))
      expect((await one.store.snapshot()).records).toMatchObject([{ key: 'node/a', state: 'live' }])
    })

    it('that says goodbye is over at once', async () => {
      const session = await open(one, 'group/a')
      await lease(one, session, `service/bot/a/${session}`)
      await one.store.endSession(session, 'left')
      await eventually(() => expect([two.gone, two.over]).toEqual([[session], [session]]))
      expect(two.changes.at(-1)).toMatchObject({ change: 'drop', reason: 'released' })
      expect(await take(two, session, 'group/a')).toEqual({ refused: 'unknown_session' })
    })

    it('leaves no heads behind when it is over', async () => {
      const session = await open(one)
      await one.bus.append([batch(one, `session/${session}`, 0, [1, 'verdict'])], [])
      await one.store.endSession(session, 'left')
      const { heads } = await two.store.openSession({ session, subject: 'bot/a', channels: [] })
      expect(heads).toEqual([])
    })
  })
}
