import { inspect } from 'node:util'
import { Secret } from '@damon/runtime/secret'
import { FakeDigitalOcean } from '@damon/testkit/fake-digitalocean'
import { expect, test } from 'vitest'
import { type Clock, systemClock } from '../src/clock.ts'
import { DigitalOceanDns } from '../src/dns-digitalocean.ts'

const never = new AbortController().signal
const name = '_acme-challenge.example.com'

/** Waits are over at once. */
const hasty: Clock = { now: systemClock.now, until: async (_, signal) => signal.throwIfAborted() }

function adapter(api: FakeDigitalOcean, token = api.token) {
  return new DigitalOceanDns({ token: new Secret(token), url: api.url, clock: hasty })
}

test('a value is found and removed behind more than 200 others, which stay', async () => {
  await using api = await FakeDigitalOcean.start({ zones: ['example.com'] })
  for (let n = 0; n < 230; n++)
    await api.seed('example.com', { type: 'TXT', name: '_acme-challenge', data: `other ${n}` })
  const dns = adapter(api)
  await dns.addTxt(name, 'mine', never)
  await dns.addTxt(name, 'mine', never)
  expect(api.records('example.com').filter(({ data }) => data === 'mine')).toMatchObject([
    { name: '_acme-challenge', ttl: 30 },
  ])
  await dns.removeTxt(name, 'mine', never)
  expect(api.records('example.com')).toHaveLength(230)
  await dns.removeTxt(name, 'mine', never)
})

test('the longest zone that holds a name wins, behind more than 20 others', async () => {
  const many = Array.from({ length: 25 }, (_, n) => `zone${n}.test`)
  await using api = await FakeDigitalOcean.start({ zones: [...many, 'example.com', 'sub.example.com'] })
  const dns = adapter(api)
  expect(await dns.zoneOf('_acme-challenge.a.sub.example.com', never)).toBe('sub.example.com')
  expect(await dns.zoneOf('_acme-challenge.xsub.example.com', never)).toBe('example.com')
  await dns.addTxt('sub.example.com', 'at the apex', never)
  expect(api.records('sub.example.com')).toMatchObject([{ name: '@', data: 'at the apex' }])
  await expect(dns.zoneOf('example.org', never)).rejects.toMatchObject({ code: 'zone_not_found' })
})

test('a burst limit and a server error are waited out', async () => {
  await using api = await FakeDigitalOcean.start({ zones: ['example.com'] })
  api.refusals.push({ status: 429, times: 1, headers: { 'retry-after': '1' } }, { status: 500, times: 2 })
  await adapter(api).addTxt(name, 'v', never)
  expect(api.records('example.com')).toHaveLength(1)
})

test('a record whose answer was lost is not made twice', async () => {
  await using api = await FakeDigitalOcean.start({ zones: ['example.com'] })
  api.refusals.push({ method: 'POST', status: 500, times: 1, afterwards: true })
  await adapter(api).addTxt(name, 'v', never)
  expect(api.records('example.com')).toHaveLength(1)
})

test('an hourly limit is left to the schedule, with the time it ends', async () => {
  await using api = await FakeDigitalOcean.start({ zones: ['example.com'] })
  api.refusals.push({ status: 429, times: 1 })
  const error = await adapter(api)
    .zoneOf(name, never)
    .catch((reason) => reason)
  expect(error).toMatchObject({ code: 'dns_rate_limited', retry: true })
  expect(error.retryAt).toBeGreaterThan(Date.now() + 3_000_000)
})

test('with few calls left in the hour nothing new is published, but what is published is removed', async () => {
  await using api = await FakeDigitalOcean.start({ zones: ['example.com'] })
  const dns = adapter(api)
  await dns.addTxt(name, 'one', never)
  api.remaining = 90
  await dns.zoneOf('example.org', never).catch(() => {})
  const error = await dns.addTxt(name, 'two', never).catch((reason) => reason)
  expect(error).toMatchObject({
    code: 'dns_rate_limited',
    message: expect.stringContaining('calls are left in this hour'),
  })
  expect(error.retryAt).toBeGreaterThan(Date.now() + 3_000_000)
  await dns.removeTxt(name, 'one', never)
  expect(api.records('example.com')).toEqual([])
})

test('no error holds the token, whichever way it is printed', async () => {
  await using api = await FakeDigitalOcean.start({ zones: ['example.com'] })
  const wrong = 'dop_v1_wrong_but_still_secret'
  const errors: Error[] = []
  const gather = (error: Error) => void errors.push(error)
  await adapter(api, wrong).addTxt(name, 'v', never).catch(gather)
  api.refusals.push({ status: 422, times: 1 })
  await adapter(api).addTxt(name, 'v', never).catch(gather)
  const nowhere = new DigitalOceanDns({ token: new Secret(api.token), url: 'http://127.0.0.1:9/v2', clock: hasty })
  await nowhere.addTxt(name, 'v', never).catch(gather)
  expect(errors.map((error) => (error as { code?: string }).code)).toEqual([
    'dns_unauthorized',
    'dns_refused',
    'dns_unavailable',
  ])
  expect(errors[0]?.message).toContain('Unable to authenticate you')
  for (const error of errors) {
    const texts = [inspect(error, { depth: 20, showHidden: true }), JSON.stringify(error), String(error.stack)]
    for (const text of texts) {
      expect(text).not.toContain(wrong)
      expect(text).not.toContain(api.token)
    }
  }
})
