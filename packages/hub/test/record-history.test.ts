import { expect, it } from 'vitest'
import { RecordHistory } from '../src/record-history.ts'

const keys = (history: RecordHistory, since: number) => {
  const fates = history.since(since)
  return fates && [...fates].map(([key, { revision, reason }]) => `${key}@${revision}${reason ? ` ${reason}` : ''}`)
}

it('knows nothing before it begins, and nothing of what was before that', () => {
  const history = new RecordHistory(4)
  expect(history.since(0)).toBeUndefined()
  history.begin(10)
  expect([keys(history, 9), keys(history, 10)]).toEqual([undefined, []])
})

it('has of each key the latest change, in their order', () => {
  const history = new RecordHistory(4)
  history.begin(10)
  history.add({ key: 'a', revision: 11 })
  history.add({ key: 'b', revision: 12 })
  history.add({ key: 'a', revision: 13, reason: 'over' })
  expect(keys(history, 10)).toEqual(['b@12', 'a@13 over'])
  expect(keys(history, 12)).toEqual(['a@13 over'])
  expect(keys(history, 13)).toEqual([])
})

it('forgets the oldest, and says so rather than leave anything out', () => {
  const history = new RecordHistory(4)
  history.begin(0)
  for (let revision = 1; revision <= 100; revision++) {
    history.add({ key: `k${revision}`, revision })
    for (let since = 0; since <= revision; since++) {
      const known = history.since(since)
      if (known) expect(known.size).toBe(revision - since)
      else expect(since).toBeLessThan(revision - 3)
    }
  }
})
