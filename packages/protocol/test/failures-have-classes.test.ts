import { describe, expect, it } from 'vitest'
import { failureClass, nodeOutcomes } from '../src/audio.ts'

describe('the class of a failure', () => {
  it.each([
    ['rate', 'com.sedmelluq.lava.extensions...RateLimitException: Retry aborted, too many retries on ratelimit'],
    ['rate', "Caused by: java.lang.RuntimeException: Can't find a free ip"],
    ['rate', 'YouTube rate limit reached, marking address /2a03:b0c0::1 as failing and retry'],
    ['rate', 'java.io.IOException: Invalid status code for player api response: 429'],
    ['bot', 'AllClientsFailedException: All clients failed to load the item.\n Sign in to confirm you’re not a bot'],
    ['bot', "FriendlyException: Sign in to confirm you're not a bot"],
    ['bot', 'This video requires login.'],
    ['bind', 'java.net.BindException: Cannot assign requested address\n\tsuppressed: RateLimitException'],
    ['gone', 'FriendlyException: This video is unavailable'],
    ['other', 'Something went wrong while looking up the track.'],
    ['other', 'The video of 4290 views'],
  ])('is %s for "%s"', (expected, text) => {
    expect(failureClass(text)).toBe(expected)
  })
})

it('reports of outcomes may leave classes out, and hold no other', () => {
  const report = { node: 'fra1', starts: 20, failed: { rate: 11 }, windowMs: 30_000 }
  expect(nodeOutcomes.safeParse(report).success).toBe(true)
  expect(nodeOutcomes.safeParse({ ...report, failed: { moon: 1 } }).success).toBe(false)
  expect(nodeOutcomes.safeParse({ ...report, starts: -1 }).success).toBe(false)
})
