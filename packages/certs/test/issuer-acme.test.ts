import { X509Certificate } from 'node:crypto'
import { eventually } from '@damon/testkit/eventually'
import { checkPair } from '@damon/trust/certificate-node'
import { expect, test } from 'vitest'
import { systemClock } from '../src/clock.ts'
import { Ledger } from '../src/ledger.ts'
import { acmeSetup, orderOf } from './acme-setup.ts'

const never = new AbortController().signal
const names = ['example.com', '*.example.com']

test('a name and its wildcard are issued together, from two TXT values on one name, and nothing stays behind', async () => {
  await using setup = await acmeSetup()
  const pair = await setup.issuer.issue(orderOf('edge', names), never)
  expect(checkPair({ ...pair, names, now: Date.now() }).names.sort()).toEqual([...names].sort())
  const created = setup.api.requests.filter(({ method }) => method === 'POST')
  expect(created.map(({ path, status }) => `${path} ${status}`)).toEqual([
    '/v2/domains/example.com/records 201',
    '/v2/domains/example.com/records 201',
  ])
  expect(setup.api.records('example.com')).toEqual([])
  expect(setup.names.txt('_acme-challenge.example.com')).toEqual([])
  const root = new X509Certificate(setup.pebble.root)
  const last = new X509Certificate(
    pair.chain
      .trim()
      .split(/(?<=-----END CERTIFICATE-----)/)
      .at(-1) ?? '',
  )
  expect(last.checkIssued(root)).toBe(true)
})

test('the account is registered once and used again, also after a restart', async () => {
  await using setup = await acmeSetup()
  const first = await setup.issuer.issue(orderOf('a', ['a.sub.example.com']), never)
  await setup.issuer.settle('a')
  const second = await setup.restart().issue(orderOf('a', ['a.sub.example.com']), never)
  expect(second.key).not.toBe(first.key)
  expect(await setup.store.list('account')).toEqual(['pebble'])
  expect(setup.pebble.output().match(/new account|There are now \d+ accounts/gi) ?? []).toHaveLength(1)
  expect(setup.api.records('sub.example.com')).toEqual([])
})

test('records of others under the same name survive', async () => {
  await using setup = await acmeSetup()
  await setup.api.seed('example.com', { type: 'TXT', name: '_acme-challenge', data: 'of somebody else' })
  await setup.issuer.issue(orderOf('edge', names), never)
  expect(setup.api.records('example.com')).toMatchObject([{ data: 'of somebody else' }])
  expect(setup.names.txt('_acme-challenge.example.com')).toEqual(['of somebody else'])
})

test('TXT records that no server publishes fail the attempt with a name for it, and are removed', async () => {
  await using setup = await acmeSetup({ published: false })
  await expect(setup.issuer.issue(orderOf('edge', names), never)).rejects.toMatchObject({
    code: 'not_propagated',
    message: expect.stringContaining('lacks 2 of the TXT values of _acme-challenge.example.com'),
  })
  expect(setup.api.records('example.com')).toEqual([])
})

test('an attempt that is aborted takes its records back', async () => {
  await using setup = await acmeSetup({ published: false })
  const controller = new AbortController()
  const attempt = setup.issuer.issue(orderOf('edge', names), controller.signal)
  attempt.catch(() => {})
  await eventually(() => expect(setup.api.records('example.com').length).toBe(2))
  controller.abort(new Error('stopping'))
  await expect(attempt).rejects.toThrow('stopping')
  expect(setup.api.records('example.com')).toEqual([])
})

test('what a failed clean-up left behind is swept by the next attempt', async () => {
  await using setup = await acmeSetup()
  setup.api.refusals.push({ method: 'DELETE', status: 422, times: 2 })
  await setup.issuer.issue(orderOf('edge', names), never)
  expect(setup.api.records('example.com')).toHaveLength(2)
  await setup.issuer.issue(orderOf('other', ['sub.example.com']), never)
  expect(setup.api.records('example.com')).toEqual([])
})

test('a name that the authority refuses is a terminal error with its words', async () => {
  await using setup = await acmeSetup({ blocked: ['blocked.example.com'] })
  await expect(setup.issuer.issue(orderOf('bad', ['blocked.example.com']), never)).rejects.toMatchObject({
    code: 'ca_refused_name',
    retry: false,
    message: expect.stringMatching(/answered 400 \w+: /),
  })
})

test('an order that came to a certificate has spent its tokens, also when a crash kept it from being forgotten', async () => {
  await using setup = await acmeSetup()
  const ledger = new Ledger({ store: setup.store, issuer: 'pebble', clock: systemClock, counts: true })
  const kind = { names, isRenewal: true, isExempt: false }
  const { chain } = await setup.issuer.issue(orderOf('spent', names), never)
  const current = { fingerprint: 'f'.repeat(64), chain, isSame: true, isInWindow: false }
  await setup.restart().issue(orderOf('spent', names, { current }), never)
  for (let more = 0; more < 3; more++) await ledger.reserve(kind)
  expect(await ledger.refusal(kind)).toMatchObject({ code: 'limit_reached' })
  await setup.issuer.settle('spent')
})
