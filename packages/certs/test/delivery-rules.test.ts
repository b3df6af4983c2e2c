import { expect, test } from 'vitest'
import { deliveryRules } from '../src/delivery-rules.ts'

test('without a word there is no canary, and a reader has two minutes to serve', () => {
  expect(deliveryRules.parse(undefined)).toEqual({ canary: false, servedWithin: 120_000 })
  expect(deliveryRules.parse({ canary: 'bot', servedWithin: '90s' })).toEqual({ canary: 'bot', servedWithin: 90_000 })
  expect(deliveryRules.parse({ canary: true, servedWithin: '1h' })).toEqual({ canary: true, servedWithin: 3_600_000 })
})

test('what is no service and no span of time is refused in words', () => {
  const problems = deliveryRules.safeParse({ canary: 'No Service', servedWithin: '90' }).error?.issues
  expect(problems?.map(({ path, message }) => `${path.join()} ${message}`)).toEqual([
    'canary must be true, false, or the service of the readers to choose from',
    'servedWithin must be a span of time like 30s, 2m or 1h',
  ])
})
