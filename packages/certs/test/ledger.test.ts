import { temporaryFolder } from '@damon/testkit/temporary-folder'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Ledger } from '../src/ledger.ts'
import { availableAt, type Buckets, letsEncryptLimits, registeredDomain, take } from '../src/rate-limits.ts'
import { Store } from '../src/store.ts'
import { storeKey } from './acme-setup.ts'
import { ManualClock } from './manual-clock.ts'

const hour = 3_600_000
const day = 24 * hour
const fresh = (names: string[]) => ({ names, isRenewal: false, isExempt: false })

async function ledgerOn(path: string, clock: ManualClock) {
  return new Ledger({ store: await Store.open(path, storeKey), issuer: 'le', clock, counts: true })
}

test('the sixth certificate for the same names is refused here, with the time when there is room, also after a restart', async () => {
  await using folder = await temporaryFolder()
  const clock = new ManualClock(1_000 * day)
  const ledger = await ledgerOn(folder.path, clock)
  const kind = { names: ['b.test', 'a.test'], isRenewal: true, isExempt: false }
  for (let count = 0; count < 5; count++) await ledger.reserve(kind)
  const again = await ledgerOn(folder.path, clock)
  const refused = await again.reserve({ ...kind, names: ['a.test', 'b.test'] }).catch((error) => error)
  expect(refused).toMatchObject({ code: 'limit_reached', retry: true, retryAt: clock.now() + (7 * day) / 5 })
  expect(refused.message).toContain('a.test b.test: 5 certificates for exactly these names in 7 days are used up until')
  clock.set(refused.retryAt)
  await again.reserve(kind)
  await expect(again.reserve(kind)).rejects.toMatchObject({ code: 'limit_reached' })
})

test('fifty new certificates a week for a domain, renewals not counted, exempt ones never', async () => {
  await using folder = await temporaryFolder()
  const ledger = await ledgerOn(folder.path, new ManualClock(1_000 * day))
  for (let count = 0; count < 50; count++) await ledger.reserve(fresh([`n${count}.example.co.uk`]))
  await expect(ledger.reserve(fresh(['more.example.co.uk']))).rejects.toThrow('example.co.uk: 50 certificates')
  await ledger.reserve({ ...fresh(['n1.example.co.uk']), isRenewal: true })
  await ledger.reserve(fresh(['more.example.org']))
  for (let count = 0; count < 9; count++) {
    expect(await ledger.reserve({ names: ['n1.example.co.uk'], isRenewal: true, isExempt: true })).toEqual([])
  }
})

test('five failed validations in an hour close a name for a while; an order that came to nothing gives its tokens back', async () => {
  await using folder = await temporaryFolder()
  const clock = new ManualClock(1_000 * day)
  const ledger = await ledgerOn(folder.path, clock)
  for (let count = 0; count < 9; count++) {
    await ledger.refund(await ledger.reserve({ names: ['a.test'], isRenewal: true, isExempt: false }))
  }
  for (let count = 0; count < 5; count++) await ledger.spend([{ limit: 'failures', of: 'a.test' }])
  expect(await ledger.refusal(fresh(['*.a.test']))).toMatchObject({ retryAt: clock.now() + hour / 5 })
  expect(await ledger.refusal(fresh(['b.a.test']))).toBeUndefined()
})

test('the eleventh account within three hours is refused here', async () => {
  await using folder = await temporaryFolder()
  const clock = new ManualClock(1_000 * day)
  const ledger = await ledgerOn(folder.path, clock)
  for (let count = 0; count < 10; count++) await ledger.reserveAccount()
  await expect(ledger.reserveAccount()).rejects.toMatchObject({
    code: 'limit_reached',
    retryAt: clock.now() + (3 * hour) / 10,
  })
  expect(await ledger.refusal(fresh(['a.test']))).toBeUndefined()
})

test('an authority without known limits is never refused', async () => {
  await using folder = await temporaryFolder()
  const store = await Store.open(folder.path, storeKey)
  const ledger = new Ledger({ store, issuer: 'own', clock: new ManualClock(0), counts: false })
  for (let count = 0; count < 20; count++) await ledger.reserve(fresh(['a.test']))
  expect(await store.list('ledger')).toEqual([])
})

test('over any stretch of time a bucket gives out no more than it holds and what has come in meanwhile', () => {
  const waits = fc.array(fc.integer({ min: 0, max: day }), { minLength: 1, maxLength: 60 })
  fc.assert(
    fc.property(waits, (steps) => {
      const { capacity, refillMs } = letsEncryptLimits.set
      const token = { limit: 'set', of: 'a' } as const
      const taken: number[] = []
      let buckets: Buckets = {}
      let now = 0
      for (const step of steps) {
        now += step
        if (availableAt(buckets, token) > now) continue
        buckets = take(buckets, [token], now)
        taken.push(now)
      }
      for (const [index, at] of taken.entries()) {
        const inStretch = taken.slice(index).map((end, count) => ({ ms: end - at, count: count + 1 }))
        for (const { ms, count } of inStretch) expect(count).toBeLessThanOrEqual(capacity + Math.floor(ms / refillMs))
      }
    }),
    { seed: 11, numRuns: 200 },
  )
})

test.each([
  ['example.com', 'example.com'],
  ['*.a.b.example.com', 'example.com'],
  ['a.example.co.uk', 'example.co.uk'],
  ['a.example.de', 'example.de'],
  ['a.example.kawasaki.jp', 'a.example.kawasaki.jp'],
  ['a.b.you.github.io', 'you.github.io'],
  ['github.io', 'github.io'],
  ['a.xn--bcher-kva.example', 'xn--bcher-kva.example'],
  ['localhost', 'localhost'],
])('%s is registered as %s', (name, domain) => {
  expect(registeredDomain(name)).toBe(domain)
})
