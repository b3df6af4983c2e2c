import { createHash, createPrivateKey, X509Certificate } from 'node:crypto'
import { checkPair } from '@damon/trust/certificate-node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Order } from '../src/issuer.ts'
import { certificateId } from '../src/renewal-info.ts'
import { type AcmeSetup, acmeSetup, hastyClock, orderOf } from './acme-setup.ts'

const never = new AbortController().signal
const day = 86_400_000
let setup: AcmeSetup

beforeAll(async () => {
  setup = await acmeSetup({ alternateRoots: 1 })
})
afterAll(() => setup[Symbol.asyncDispose]())

/** Without those whose nonce was refused. */
const ordered = () => setup.proxy.calls.filter(({ resource, status }) => resource === 'newOrder' && status !== 400)
let count = 0
/** A name of its own for each test, and what it asks for. */
function fresh(more: Partial<Order> = {}): Order {
  count += 1
  return orderOf(`c${count}`, [`n${count}.example.com`], more)
}

test('bad nonces, server errors, cut connections and slow answers are got over within one attempt', async () => {
  setup.proxy.faults.push(
    { resource: 'newOrder', status: 400, type: 'badNonce', times: 2 },
    { resource: 'authorization', status: 503, type: 'serverInternal' },
    { resource: 'challenge', cut: true },
    { resource: 'finalize', status: 500, afterwards: true },
    { resource: 'order', slowMs: 60 },
    { resource: 'certificate', cut: true, afterwards: true },
  )
  const issued = setup.pebble.issued()
  const order = fresh()
  const pair = await setup.issuer.issue(order, never)
  expect(checkPair({ ...pair, names: order.names, now: Date.now() }).names).toEqual(order.names)
  expect(setup.pebble.issued() - issued).toBe(1)
  expect(setup.proxy.faults).toEqual([])
  expect(setup.api.records('example.com')).toEqual([])
})

test('a rate limit of 34 hours ends the attempt at once, with the time', async () => {
  setup.proxy.faults.push({
    resource: 'newOrder',
    status: 429,
    detail: 'too many certificates',
    headers: { 'retry-after': '122400' },
  })
  const before = ordered().length
  const error = await setup.issuer.issue(fresh(), never).catch((reason) => reason)
  expect(error).toMatchObject({ code: 'ca_rate_limited', message: expect.stringContaining('too many certificates') })
  expect(error.retryAt - Date.now()).toBeGreaterThan(122_000_000)
  expect(ordered().length - before).toBe(1)
})

test.each([
  [403, 'caa', 'ca_refused_by_caa'],
  [400, 'rejectedIdentifier', 'ca_refused_name'],
  [403, 'userActionRequired', 'ca_account'],
  [400, 'invalidProfile', 'ca_refused_profile'],
])('an answer %i %s is terminal and has a remedy of its own', async (status, type, code) => {
  setup.proxy.faults.push({ resource: 'newOrder', status, type })
  await expect(setup.issuer.issue(fresh(), never)).rejects.toMatchObject({ code, retry: false })
})

test('a pause is not waited out like a limit: a person has to lift it', async () => {
  setup.proxy.faults.push({
    resource: 'newOrder',
    status: 429,
    detail: 'Your account is temporarily prevented (paused). See https://ca.test/unpause',
  })
  await expect(setup.issuer.issue(fresh(), never)).rejects.toMatchObject({
    code: 'ca_paused',
    retry: false,
    message: expect.stringContaining('https://ca.test/unpause'),
  })
})

test('a profile goes to the authority; one that it does not have is refused by name', async () => {
  setup.proxy.profiles.set('shortlived', 'https://ca.test/profiles')
  await setup.issuer.issue(fresh({ profile: 'shortlived' }), never)
  expect(ordered().at(-1)?.payload).toMatchObject({ profile: 'shortlived' })
  await expect(setup.issuer.issue(fresh({ profile: 'none' }), never)).rejects.toMatchObject({
    code: 'ca_refused_profile',
  })
})

test('the order says what it replaces; when that was replaced before, it is ordered without', async () => {
  const now = Date.now()
  setup.proxy.windows.set('*', {
    start: now - day,
    end: now + day,
    explanationURL: 'https://ca.test/why',
    retryAfter: '3600',
  })
  const order = fresh()
  const { chain } = await setup.issuer.issue(order, never)
  await setup.issuer.settle(order.id)
  const window = await setup.issuer.renewalInfo(chain, never)
  expect(window).toMatchObject({ start: now - day, end: now + day, explanation: 'https://ca.test/why' })
  expect(window!.askAt - now).toBeGreaterThanOrEqual(3_600_000)
  const again = (fingerprint: string) => ({ ...order, current: { fingerprint, isSame: true, chain, isInWindow: true } })
  await setup.issuer.issue(again('one'), never)
  await setup.issuer.settle(order.id)
  const replaces = certificateId(chain)
  expect(replaces).toBeDefined()
  expect(ordered().at(-1)?.payload).toMatchObject({ replaces })
  const before = ordered().length
  await setup.issuer.issue(again('two'), never)
  expect(
    ordered()
      .slice(before)
      .map(({ status, payload }) => [status, payload?.replaces]),
  ).toEqual([
    [409, replaces],
    [201, undefined],
  ])
})

test.each([
  ['p256', 'ec', 'prime256v1'],
  ['p384', 'ec', 'secp384r1'],
  ['rsa2048', 'rsa', 2048],
] as const)('a key of type %s is made where it is asked for', async (keyType, type, detail) => {
  const { key, chain } = await setup.issuer.issue(fresh({ keyType }), never)
  const { asymmetricKeyType, asymmetricKeyDetails } = createPrivateKey(key)
  expect(asymmetricKeyType).toBe(type)
  expect([asymmetricKeyDetails?.namedCurve, asymmetricKeyDetails?.modulusLength]).toContain(detail)
  expect(new X509Certificate(chain).checkPrivateKey(createPrivateKey(key))).toBe(true)
})

test('of several chains the one under the preferred root is taken', async () => {
  const roots = setup.pebble.rootNames
  expect(roots).toHaveLength(2)
  for (const preferredChain of roots) {
    const order = fresh()
    const { chain } = await setup.restart({ preferredChain }).issue(order, never)
    const last = new X509Certificate(
      chain
        .trim()
        .split(/(?<=-----END CERTIFICATE-----)\s/)
        .at(-1)!,
    )
    expect(last.issuer).toContain(preferredChain)
  }
})

test('a challenge whose name is a CNAME is answered in the other zone, and nothing stays there', async () => {
  const order = fresh()
  setup.names.alias(`_acme-challenge.${order.names[0]}`, 'handed-over.example.net')
  const before = setup.api.requests.length
  await setup.issuer.issue(order, never)
  const written = setup.api.requests.slice(before).filter(({ method }) => method === 'POST')
  expect(written.map(({ path }) => path)).toEqual(['/v2/domains/example.net/records'])
  expect(setup.api.records('example.net')).toEqual([])
})

test('an international name and its wildcard are issued', async () => {
  const names = ['xn--bcher-kva.example.com', '*.xn--bcher-kva.example.com']
  const pair = await setup.issuer.issue(orderOf('idn', names), never)
  expect(checkPair({ ...pair, names, now: Date.now() }).names.sort()).toEqual([...names].sort())
})

test('a revoked certificate is revoked at the authority; a second time is harmless', async () => {
  const { chain } = await setup.issuer.issue(fresh(), never)
  await setup.issuer.revoke(chain, 'keyCompromise', never)
  await setup.issuer.revoke(chain, 'keyCompromise', never)
  const calls = setup.proxy.calls.filter(({ resource }) => resource === 'revoke')
  expect(new Set(calls.map(({ payload }) => payload?.reason))).toEqual(new Set([1]))
  expect(calls.filter(({ status }) => status === 200)).toHaveLength(1)
  expect(calls.at(-1)?.status).toBe(400)
})

test('the account key is rolled over when it is old, also when nobody learns that it worked', async () => {
  const keyOf = async () =>
    JSON.parse(Buffer.from((await setup.store.read('account/pebble'))!).toString()).key as string
  const hash = async () =>
    createHash('sha256')
      .update(await keyOf())
      .digest('hex')
  const first = await hash()
  const later = { ...hastyClock, now: () => Date.now() + 40 * day }
  const accounts = () => new Set(setup.pebble.output().match(/There are now (\d+) accounts/g)).size
  const before = accounts()
  await setup.restart({ accountKeyDays: 30, clock: later }).issue(fresh(), never)
  const second = await hash()
  expect(second).not.toBe(first)
  const muchLater = { ...hastyClock, now: () => Date.now() + 80 * day }
  setup.proxy.faults.push({ resource: 'keyChange', cut: true, afterwards: true })
  const issuer = setup.restart({ accountKeyDays: 30, clock: muchLater })
  await expect(issuer.issue(fresh(), never)).rejects.toMatchObject({ code: 'ca_unreachable' })
  await setup.restart().issue(fresh(), never)
  expect(await hash()).not.toBe(second)
  expect(accounts()).toBe(before)
})

test('an order that another has taken over ends before the authority counts anything', async () => {
  const before = ordered().length
  const lost = Object.assign(new Error('lost'), { code: 'lease_lost' })
  const order = fresh({ fence: () => Promise.reject(lost) })
  await expect(setup.issuer.issue(order, never)).rejects.toBe(lost)
  expect(ordered().length).toBe(before)
})

test('after a failure the test system is asked first: what fails there does not reach the authority', async () => {
  const rehearsal = setup.restart({ name: 'pebble.rehearsal' })
  const issuer = setup.restart({ rehearsal })
  const before = ordered().length
  await issuer.rehearse(fresh(), never)
  expect(ordered().length - before).toBe(1)
  setup.proxy.faults.push({ resource: 'newOrder', status: 400, type: 'rejectedIdentifier' })
  await expect(issuer.rehearse(fresh(), never)).rejects.toMatchObject({
    code: 'rehearsal_failed',
    cause: { code: 'ca_refused_name' },
  })
  // A test system that is down says nothing of the order.
  const down = setup.restart({ name: 'pebble.down', directory: 'https://127.0.0.1:9/dir' })
  await setup.restart({ rehearsal: down }).rehearse(fresh(), never)
})

test('an account that has to belong to another is bound to it', async () => {
  const key = Buffer.from('0123456789abcdef0123456789abcdef').toString('base64url')
  await using strict = await acmeSetup({ externalAccounts: { 'kid-1': key } })
  const order = orderOf('edge', ['example.com'])
  await expect(strict.issuer.issue(order, never)).rejects.toMatchObject({ code: 'ca_account', retry: false })
  const bound = strict.restart({ externalAccount: { kid: 'kid-1', key } })
  expect((await bound.issue(order, never)).chain).toContain('BEGIN CERTIFICATE')
})
