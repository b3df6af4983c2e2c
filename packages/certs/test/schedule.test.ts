import fc from 'fast-check'
import { expect, test } from 'vitest'
import { emergencyAt, nextAttempt, nextIssuer, retryJitter, retryTable } from '../src/schedule.ts'

const hour = 3_600_000
const day = 24 * hour
const minute = 60_000

function certificate(lifeMs: number, fingerprint = 'ab') {
  return { notBefore: 0, notAfter: lifeMs, fingerprint, fits: true }
}

test.each([
  ['90 days', 90 * day, 1 / 3],
  ['64 days', 64 * day, 1 / 3],
  ['45 days', 45 * day, 1 / 3],
  ['160 hours', 160 * hour, 1 / 2],
])('a certificate of %s is renewed with its share of life left, up to a twentieth earlier', (_, life, share) => {
  const { at, why } = nextAttempt({ current: certificate(life) })
  expect(why).toBe('renewal')
  expect(at).toBeLessThanOrEqual(life - life * share)
  expect(at).toBeGreaterThanOrEqual(life - life * share - life / 20)
})

test('the jitter differs between certificates and is the same after a restart', () => {
  const times = ['a', 'b', 'c', 'd'].map(
    (fingerprint) => nextAttempt({ current: certificate(90 * day, fingerprint) }).at,
  )
  expect(new Set(times).size).toBe(4)
  expect(nextAttempt({ current: certificate(90 * day, 'a') }).at).toBe(times[0])
})

test('a missing certificate and changed names are due at once', () => {
  expect(nextAttempt({})).toEqual({ at: 0, why: 'missing' })
  expect(nextAttempt({ current: { ...certificate(90 * day), fits: false } })).toEqual({
    at: 0,
    why: 'changed',
  })
})

test.each([
  [1, minute],
  [2, 10 * minute],
  [3, 100 * minute],
  [4, day],
  [40, day],
])('after %i failures the next attempt is %i ms away, or up to a tenth more', (count, wait) => {
  const failures = { count, lastAt: 1_000, terminal: false }
  const { at, why } = nextAttempt({ failures })
  expect(why).toBe('retry')
  expect(at - 1_000).toBeGreaterThanOrEqual(wait)
  expect(at - 1_000).toBeLessThanOrEqual(wait * (1 + retryJitter))
  expect(nextAttempt({ failures }).at).toBe(at)
})

test('a terminal failure is retried daily from the first time on', () => {
  const { at } = nextAttempt({ failures: { count: 1, lastAt: 0, terminal: true } })
  expect(at).toBeGreaterThanOrEqual(retryTable.at(-1)!)
})

test('while another issuer has not refused yet, a terminal failure moves on to it at once', () => {
  const { at } = nextAttempt({ failures: { count: 1, lastAt: 0, terminal: true, elsewhere: true } })
  expect(at).toBeLessThan(2 * minute)
})

test('what the other side asked for is honoured', () => {
  const failures = { count: 1, lastAt: 0, terminal: false, retryAt: 34 * hour }
  expect(nextAttempt({ failures }).at).toBe(34 * hour)
  const current = certificate(90 * day)
  const late = { count: 9, lastAt: 89 * day, terminal: false, retryAt: 89 * day + 34 * hour }
  expect(nextAttempt({ current, failures: late }).at).toBe(89 * day + 34 * hour)
})

test.each([90 * day, 45 * day, 160 * hour])(
  'near its end a certificate of %i ms is retried faster than the table',
  (life) => {
    const current = certificate(life)
    const lastAt = emergencyAt(current) + hour
    const { at, why } = nextAttempt({ current, failures: { count: 9, lastAt, terminal: false } })
    expect(why).toBe('emergency')
    expect(at - lastAt).toBeLessThan(day)
    expect(at).toBeLessThan(life)
    expect(at - lastAt).toBeGreaterThanOrEqual(15 * minute)
  },
)

test('a retry that the table puts behind the end of the quiet time comes when the emergency begins', () => {
  const current = certificate(90 * day)
  const lastAt = emergencyAt(current) - 12 * hour
  const due = nextAttempt({ current, failures: { count: 4, lastAt, terminal: false } })
  expect(due).toEqual({ at: emergencyAt(current), why: 'emergency' })
})

test('the instant that the authority suggests counts, but never behind the emergency', () => {
  const current = certificate(90 * day)
  expect(nextAttempt({ current, suggestedAt: 5 * day })).toEqual({ at: 5 * day, why: 'suggested' })
  expect(nextAttempt({ current, suggestedAt: 89 * day })).toEqual({ at: emergencyAt(current), why: 'emergency' })
})

test('an authority that wants each new certificate renewed at once gets one order in a hundredth of its life', () => {
  const current = certificate(90 * day)
  expect(nextAttempt({ current, suggestedAt: -day })).toEqual({ at: 0.9 * day, why: 'suggested' })
})

test('a revoked certificate is due at once, whatever is suggested', () => {
  const current = { ...certificate(90 * day), revoked: true }
  expect(nextAttempt({ current, suggestedAt: 80 * day })).toEqual({ at: 0, why: 'revoked' })
})

const lives = fc.constantFrom(90 * day, 64 * day, 45 * day, 160 * hour)

test('whatever fails however often, there is a next attempt before the end, and attempts never crowd', () => {
  fc.assert(
    fc.property(
      lives,
      fc.float({ min: 0, max: 1, noNaN: true }),
      fc.array(fc.boolean(), { maxLength: 300 }),
      (life, share, kinds) => {
        const current = certificate(life)
        const suggestedAt = share < 0.5 ? undefined : share * life
        let { at } = nextAttempt({ current, suggestedAt })
        expect(at).toBeLessThanOrEqual(emergencyAt(current))
        for (let count = 1; at < life && count <= kinds.length; count++) {
          const failures = { count, lastAt: at, terminal: kinds[count - 1]! && count < 3 }
          const next = nextAttempt({ current, suggestedAt, failures })
          expect(next.at - at).toBeGreaterThanOrEqual(minute)
          expect(next.at - at).toBeLessThanOrEqual(day * (1 + retryJitter))
          // From the emergency on, no more than a tenth of what is left goes by without an attempt.
          if (at >= emergencyAt(current) && !failures.terminal) {
            expect(next.at - at).toBeLessThanOrEqual(Math.max((life - at) / 10 + 1, 100 * minute * (1 + retryJitter)))
          }
          at = next.at
        }
      },
    ),
    { seed: 7, numRuns: 200 },
  )
})

test('the first issuer is asked first, the next one after the stated time, in the end the first again', () => {
  const issuers = ['a', 'b']
  const turn = (issuer: string, since: number, terminal = false) => ({ issuer, since, terminal })
  expect(nextIssuer(issuers, 12 * hour, undefined, 0)).toBe('a')
  expect(nextIssuer(issuers, 12 * hour, turn('a', 0), 12 * hour - 1)).toBe('a')
  expect(nextIssuer(issuers, 12 * hour, turn('a', 0), 12 * hour)).toBe('b')
  expect(nextIssuer(issuers, 12 * hour, turn('b', 12 * hour), 24 * hour)).toBe('a')
  expect(nextIssuer(issuers, 12 * hour, turn('a', 0, true), 1)).toBe('b')
  expect(nextIssuer(['a'], 12 * hour, turn('a', 0, true), day)).toBe('a')
  expect(nextIssuer(issuers, 12 * hour, turn('gone', 0), day)).toBe('a')
})
