import { expect, test } from 'vitest'
import { nextStep, type TrialHistory, type TrialReader, trialPauses } from '../src/canary.ts'

const day = 86_400_000
const minute = 60_000
const old = { fingerprint: 'old', notBefore: 0, notAfter: 100 * day }
const now = 60 * day
const rules = { canary: true, servedWithin: 2 * minute }
const nothing: TrialHistory = { trial: undefined, failed: undefined }
const reader = (name: string, rest: Partial<TrialReader> = {}): TrialReader => ({
  name,
  serves: 'old',
  deliveredAt: undefined,
  ...rest,
})
const step = (rest: Partial<Parameters<typeof nextStep>[0]>) =>
  nextStep({ now, fingerprint: 'new', before: old, rules, readers: [], history: nothing, ...rest })

test('a reader that has proven the certificate before is the canary, of the service that is named', () => {
  const readers = [reader('bot/a', { serves: undefined }), reader('web/b'), reader('bot/c')]
  expect(step({ readers })).toEqual({ who: 'canary', reader: 'bot/c', until: undefined })
  expect(step({ readers, rules: { ...rules, canary: 'web' } })).toMatchObject({ reader: 'web/b' })
})

test('where nobody can prove anything, or the certificate before ends soon, everyone gets the new one', () => {
  const readers = [reader('bot/a', { serves: undefined })]
  expect(step({ readers })).toEqual({ who: 'everyone', why: 'nobody can try it' })
  expect(step({ readers: [reader('bot/a')], now: 95 * day })).toMatchObject({ why: 'the one before ends soon' })
  expect(step({ readers: [reader('bot/a')], now: 95 * day - 1 })).toMatchObject({ who: 'canary' })
  expect(step({})).toEqual({ who: 'nobody', until: undefined })
})

test('the receipt of one reader opens it to everyone', () => {
  const history = { ...nothing, trial: 'bot/a' }
  expect(step({ readers: [reader('bot/a', { serves: 'new' }), reader('bot/b')], history })).toEqual({
    who: 'everyone',
    why: 'proven',
  })
})

test('the time of a canary begins with the delivery, and ends with a failure', () => {
  const history = { ...nothing, trial: 'bot/a' }
  const given = (at: number) => [reader('bot/a', { deliveredAt: at }), reader('bot/b')]
  expect(step({ history, readers: [reader('bot/a')] })).toEqual({ who: 'canary', reader: 'bot/a', until: undefined })
  expect(step({ history, readers: given(now - minute) })).toMatchObject({ who: 'canary', until: now + minute })
  expect(step({ history, readers: given(now - 2 * minute) })).toMatchObject({ failed: 'bot/a' })
  expect(step({ history, readers: [reader('bot/b')] })).toMatchObject({ failed: 'bot/a', why: 'its reader is gone' })
})

test('after a failure there is a pause that grows, and then another reader tries', () => {
  const readers = [reader('bot/a'), reader('bot/b')]
  for (const [index, pause] of trialPauses.entries()) {
    const failed = { count: index + 1, at: now - pause * minute + 1, readers: ['bot/a'] }
    expect(step({ readers, history: { trial: undefined, failed } })).toEqual({ who: 'nobody', until: now + 1 })
    expect(step({ readers, now: now + 1, history: { trial: undefined, failed } })).toMatchObject({ reader: 'bot/b' })
  }
  const failed = { count: 9, at: now - 360 * minute, readers: ['bot/a', 'bot/b'] }
  expect(step({ readers, history: { trial: undefined, failed } })).toMatchObject({ who: 'canary', reader: 'bot/a' })
})
