import { eventually } from '@damon/testkit/eventually'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Asked } from '../src/bus.ts'
import { batch, newSession, type TestPlace, type TestWorker } from './backbone-contract.ts'

const ticket = 'digest'

/** What the collection of answers relies on. */
export function requestsContract(openPlace: () => Promise<TestPlace>): void {
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
    await worker.store.openSession({ session, subject, channels, ticket })
    return session
  }
  const asked = (session: string, more: Partial<Asked> = {}): Asked => ({
    session,
    number: 1,
    channel: 'group/g',
    deadlineMs: 60_000,
    quorum: 2,
    ...more,
  })

  describe('a request that is asked', () => {
    it('is remembered with its receivers from the append on, until it is settled', async () => {
      const asker = await open(one, 'operator/a')
      const receivers = [
        { session: await open(one, 'bot/a', 'group/g'), subject: 'bot/a' },
        { session: await open(two, 'bot/b', 'group/g'), subject: 'bot/b' },
      ]
      await two.bus.append([batch(two, `session/${asker}`, 0, [1, 'earlier'])], [])
      const again = asked(asker, { number: 2, quorum: 0, deadlineMs: 1_000 })
      const frozen = await one.bus.append([batch(one, 'group/g', 0, [1, '?'])], ['group/g'], [asked(asker), again])
      await open(one, 'bot/late', 'group/g')
      const [first, second, ...more] = await two.store.requests(asker)
      const bySession = (members: { session: string }[] = []) =>
        members.toSorted((a, b) => (a.session < b.session ? -1 : 1))
      expect(bySession(first?.receivers)).toEqual(bySession(receivers))
      expect(bySession(frozen[0])).toEqual(bySession(receivers))
      expect([first, second, more]).toMatchObject([
        { number: 1, channel: 'group/g', quorum: 2 },
        { number: 2, channel: 'group/g', quorum: 0 },
        [],
      ])
      expect(first?.leftMs).toBeGreaterThan(1_000)
      expect(first?.leftMs).toBeLessThanOrEqual(60_000)
      expect(second?.leftMs).toBeLessThanOrEqual(1_000)
      expect(first?.heads).toContainEqual({ origin: two.bus.origin, to: `session/${asker}`, seq: 1 })
      await one.store.settled([{ session: asker, number: 1, picked: [] }])
      expect((await two.store.requests(asker)).map(({ number }) => number)).toEqual([2])
    })

    it('of nobody need not be remembered', async () => {
      const asker = await open(one, 'operator/a')
      await one.bus.append([], ['group/nobody'], [asked(asker, { channel: 'group/nobody' })])
      expect(await one.store.requests(asker)).toEqual([])
    })

    it('has as receivers those that it was given to one after another, where each was picked', async () => {
      const asker = await open(one, 'operator/a')
      const members = ['bot/a', 'bot/b'].map((subject) => ({ session: newSession(), subject }))
      for (const member of members)
        await one.bus.append([], [], [asked(asker, { channel: `session/${member.session}`, member })])
      expect(await two.store.requests(asker)).toMatchObject([{ number: 1, receivers: members }])
    })

    it('outlives its worker and is forgotten with its requester', async () => {
      const asker = await open(one, 'operator/a')
      await open(two, 'bot/a', 'group/g')
      await one.bus.append([], ['group/g'], [asked(asker)])
      await place.bury(one)
      expect(await two.store.requests(asker)).toHaveLength(1)
      await two.store.endSession(asker, 'left')
      expect(await two.store.requests(asker)).toEqual([])
    })
  })

  describe('the member that is picked for a request', () => {
    const pick = (asker: string, number: number, except: string[] = [], deadlineMs = 60_000) =>
      two.store.pickFor({ session: asker, number, deadlineMs }, 'group/g', except)

    it('is one with the fewest that are open', async () => {
      const asker = await open(one, 'operator/a')
      const members = [
        await open(one, 'bot/a', 'group/g'),
        await open(two, 'bot/b', 'group/g'),
        await open(two, 'bot/c', 'group/g'),
      ]
      const picked: string[] = []
      for (let number = 1; number <= 9; number++) picked.push((await pick(asker, number))?.session ?? '')
      for (let round = 0; round < 3; round++)
        expect(picked.slice(3 * round, 3 * round + 3).toSorted()).toEqual(members.toSorted())
      const busy = picked[3] as string
      const settled = [picked[0], picked[3]].map((member, i) => ({
        session: asker,
        number: 1 + 3 * i,
        picked: [member ?? ''],
      }))
      await two.store.settled(settled)
      // Two fewer, or each of two one fewer.
      const next = [(await pick(asker, 10))?.session, (await pick(asker, 11))?.session]
      expect(next.toSorted()).toEqual([picked[0], busy].toSorted())
    })

    it('is none that it must not be, and nobody where nobody is left', async () => {
      const asker = await open(one, 'operator/a')
      const [a, b] = [await open(one, 'bot/a', 'group/g'), await open(two, 'bot/b', 'group/g')]
      for (let number = 1; number <= 4; number++)
        expect(await pick(asker, number, [a])).toEqual({ session: b, subject: 'bot/b' })
      expect(await pick(asker, 5, [a, b])).toBeUndefined()
    })

    it('is not held busy by what is past its deadline', async () => {
      const asker = await open(one, 'operator/a')
      const a = await open(one, 'bot/a', 'group/g')
      for (let number = 1; number <= 5; number++) await pick(asker, number, [], 20)
      const b = await open(two, 'bot/b', 'group/g')
      await pick(asker, 6, [a])
      // One for b; none for a as soon as those five are over.
      let number = 6
      await eventually(async () => {
        const picked = await pick(asker, ++number)
        await two.store.settled([{ session: asker, number, picked: [picked?.session ?? ''] }])
        expect([a, b].indexOf(picked?.session ?? '')).toBe(0)
      })
    })
  })

  it('a leased record is written by the session that owns it, whatever generation that knows of', async () => {
    const owner = await open(one, 'bot/a')
    const put = (more: object) =>
      one.store.put({ owner, subject: 'bot/a', key: 'node/a', value: '1', leased: true, ...more })
    await put({})
    expect(await put({ generation: 0 })).toHaveProperty('revision')
    const other = await open(two, 'bot/a')
    expect(await put({ owner: other, generation: 0 })).toEqual({ refused: 'conflict' })
  })

  describe('kept records', () => {
    const put = (subject: string, key: string, more: object = {}) =>
      one.store.put({ owner: '', subject, key, value: '1', leased: false, most: 2, ...more })

    it('are so many at most of one subject, however they come and go', async () => {
      const owner = await open(one, 'certs/a')
      expect(await put('certs/a', 'k/1')).toHaveProperty('revision')
      expect(await put('certs/a', 'k/2')).toHaveProperty('revision')
      expect(await put('certs/a', 'k/3')).toEqual({ refused: 'limit_reached' })
      expect(await put('certs/a', 'k/2')).toHaveProperty('revision')
      expect(await put('certs/a', 'k/3', { owner, leased: true })).toHaveProperty('revision')
      expect(await put('certs/b', 'k/4')).toHaveProperty('revision')
      // One that is written by somebody else is that one's from then on.
      expect(await put('certs/b', 'k/2')).toHaveProperty('revision')
      expect(await put('certs/b', 'k/5')).toEqual({ refused: 'limit_reached' })
      expect(await put('certs/a', 'k/6')).toHaveProperty('revision')
      expect(await put('certs/a', 'k/7')).toEqual({ refused: 'limit_reached' })
      await two.store.drop({ owner: '', subject: 'certs/c', key: 'k/6', reason: 'over' })
      expect(await put('certs/a', 'k/7')).toHaveProperty('revision')
      // A lease counts for nothing, and a record that becomes one counts no more.
      expect(await put('certs/a', 'k/7', { owner, leased: true })).toHaveProperty('revision')
      expect(await put('certs/a', 'k/8')).toHaveProperty('revision')
    })
  })
}
