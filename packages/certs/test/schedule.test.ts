import { expect, test } from 'vitest'
import { emergencyAt, nextAttempt, retryTable } from '../src/schedule.ts'

const hour = 3_600_000
const day = 24 * hour
const minute = 60_000

function certificate(lifeMs: number, fingerprint = 'ab') {
  return { notBefore: 0, notAfter: lifeMs, fingerprint, namesMatch: true }
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
  expect(nextAttempt({ current: { ...certificate(90 * day), namesMatch: false } })).toEqual({
    at: 0,
    why: 'names changed',
  })
})

test.each([
  [1, minute],
  [2, 10 * minute],
  [3, 100 * minute],
  [4, day],
  [40, day],
])('after %i failures the next attempt is %i ms away', (count, wait) => {
  const failures = { count, lastAt: 1_000, terminal: false }
  expect(nextAttempt({ failures })).toEqual({ at: 1_000 + wait, why: 'retry' })
})

test('a terminal failure is retried daily from the first time on', () => {
  expect(nextAttempt({ failures: { count: 1, lastAt: 0, terminal: true } }).at).toBe(retryTable.at(-1))
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
