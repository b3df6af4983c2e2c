import { eventually } from '@damon/testkit/eventually'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import type { CertificatePair } from '@damon/trust/envelope'
import { type Authority, createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Attempts } from '../src/attempts.ts'
import { certsError } from '../src/errors.ts'
import type { Issuer, Order } from '../src/issuer.ts'
import { Leases } from '../src/leases.ts'
import type { Metrics } from '../src/metrics.ts'
import { Renewal } from '../src/renewal.ts'
import { retryJitter } from '../src/schedule.ts'
import { Shelf, type StoredCertificate } from '../src/shelf.ts'
import { Store } from '../src/store.ts'
import { Suggestions } from '../src/suggestions.ts'
import { Turnstile } from '../src/turnstile.ts'
import { readWanted, type WantedCertificate } from '../src/wanted.ts'
import { quiet, storeKey } from './acme-setup.ts'
import { ManualClock } from './manual-clock.ts'

const day = 86_400_000
const wanted = wish({ issuer: 'local', names: ['edge.test'] })
const ended = new AbortController()
let authority: Authority

beforeAll(async () => {
  authority = await createAuthority({ name: 'test', now: 0, days: 4000 })
})
afterAll(() => ended.abort())

/** A certificate as the file asks for it; both issuers of the tests are there. */
function wish(certificate: object): WantedCertificate {
  const issuers = { local: { type: 'local' }, other: { type: 'local' } }
  return {
    ...readWanted(JSON.stringify({ issuers, certificates: { edge: certificate } })).certificates.edge!,
    id: 'edge',
  }
}

/** An issuer that does what the next entry of its script says, and the local thing once the script is over. */
class Scripted implements Issuer {
  readonly script: (Error | CertificatePair)[] = []
  readonly orders: Order[] = []
  readonly rehearsed: string[] = []
  readonly settled: string[] = []
  /** Only where a test gives the authority one. */
  renewalInfo?: NonNullable<Issuer['renewalInfo']>
  readonly #clock: ManualClock

  constructor(clock: ManualClock) {
    this.#clock = clock
  }

  get calls(): number {
    return this.orders.length
  }

  async settle(id: string): Promise<void> {
    this.settled.push(id)
  }

  async revoke(): Promise<void> {}

  async rehearse({ id }: Order): Promise<void> {
    this.rehearsed.push(id)
  }

  async issue(order: Order): Promise<CertificatePair> {
    this.orders.push(order)
    const { names } = order
    const next = this.script.shift()
    if (next instanceof Error) throw next
    return next ?? issueLeaf(authority, { names, now: this.#clock.now(), days: 90 })
  }
}

async function setup(path: string, clock = new ManualClock(1_000 * day)) {
  const store = await Store.open(path, storeKey)
  const results: string[] = []
  const issued: StoredCertificate[] = []
  const metrics: Metrics = {
    scheduled() {},
    attempt: (_, result) => void results.push(result),
    delivered() {},
    readerRefused() {},
    stages() {},
    trialFailed() {},
  }
  const issuer = new Scripted(clock)
  const other = new Scripted(clock)
  const revoked = new Set<string>()
  const options = {
    issuer: (name: string) => (name === 'other' ? other : issuer),
    suggestions: new Suggestions(store, () => 0.5),
    revocations: { of: (fingerprint = '') => (revoked.has(fingerprint) ? ({} as never) : undefined) },
    leases: new Leases({ store, clock, log: quiet }),
    questions: new Turnstile(1),
    shelf: new Shelf(store),
    attempts: new Attempts(store),
    clock,
    turnstile: new Turnstile(1),
    metrics,
    log: quiet,
    issued: (certificate: StoredCertificate) => void issued.push(certificate),
  }
  const load = (certificate = wanted) => Renewal.load(certificate, options)
  return { clock, store, issuer, other, revoked, results, issued, load }
}

/** The one alarm, once it is set: that wait after `from`, or up to the jitter more. */
function nextAlarm(clock: ManualClock, from: number, wait: number): Promise<number> {
  return eventually(() => {
    expect(clock.alarms).toHaveLength(1)
    const [at] = clock.alarms as [number]
    expect(at).toBeGreaterThanOrEqual(from + wait)
    expect(at).toBeLessThanOrEqual(from + wait * (1 + retryJitter))
    return at
  })
}

test('a missing certificate is ordered at once, the next one when a third of the life is left', async () => {
  await using folder = await temporaryFolder()
  const { clock, issuer, issued, load } = await setup(folder.path)
  const renewal = await load()
  void renewal.run(ended.signal)
  await eventually(() => expect(clock.alarms).toHaveLength(1))
  expect(issued).toHaveLength(1)
  const first = issued[0]!
  expect(clock.alarms[0]! - clock.now()).toBeGreaterThan(55 * day)
  expect(clock.alarms[0]! - clock.now()).toBeLessThan(61 * day)
  clock.set(clock.alarms[0]!)
  await eventually(() => expect(issued.length).toBe(2))
  expect(renewal.current?.fingerprint).not.toBe(first.fingerprint)
  expect(issuer.calls).toBe(2)
})

test('a restart orders nothing that is still good, and orders anew when names or issuer change', async () => {
  await using folder = await temporaryFolder()
  const { clock, issued, load } = await setup(folder.path)
  void (await load()).run(ended.signal)
  await eventually(() => expect(issued.length).toBe(1))
  const again = await setup(folder.path, clock)
  expect((await again.load()).due.why).toBe('renewal')
  expect((await again.load()).current?.fingerprint).toBe(issued[0]!.fingerprint)
  expect((await again.load({ ...wanted, names: ['edge.test', 'b.test'] })).due).toEqual({ at: 0, why: 'changed' })
  expect((await again.load({ ...wanted, issuers: ['other'] })).due.at).toBe(0)
})

test('failures are retried by the table, over restarts, and keep the old certificate', async () => {
  await using folder = await temporaryFolder()
  const { clock, issuer, issued, results, load } = await setup(folder.path)
  const renewal = await load()
  const running = new AbortController()
  const run = renewal.run(running.signal)
  await eventually(() => expect(clock.alarms).toHaveLength(1))
  issuer.script.push(certsError('ca_unavailable', 'down'), certsError('ca_unavailable', 'still down'))
  const renewAt = clock.alarms[0]!
  clock.set(renewAt)
  const first = await nextAlarm(clock, renewAt, 60_000)
  clock.set(first)
  const second = await nextAlarm(clock, first, 600_000)
  expect(renewal.current?.fingerprint).toBe(issued[0]!.fingerprint)
  expect(renewal.failures).toMatchObject({ count: 2, code: 'ca_unavailable' })
  running.abort()
  await run
  const again = await setup(folder.path, clock)
  const restarted = await again.load()
  expect(restarted.due).toEqual({ at: second, why: 'retry' })
  void restarted.run(ended.signal)
  await eventually(() => expect(clock.alarms).toHaveLength(1))
  clock.set(second)
  await eventually(() => expect(again.issued.length).toBe(1))
  expect(restarted.failures).toBeUndefined()
  expect(results).toEqual(['issued', 'ca_unavailable', 'ca_unavailable'])
})

test('a terminal failure waits a day, but not over a restart: somebody may have cured it', async () => {
  await using folder = await temporaryFolder()
  const { clock, issuer, load } = await setup(folder.path)
  issuer.script.push(certsError('dns_unauthorized', 'wrong token'))
  const start = clock.now()
  void (await load()).run(ended.signal)
  await nextAlarm(clock, start, day)
  const { at } = (await (await setup(folder.path, clock)).load()).due
  expect(at - start).toBeLessThanOrEqual(60_000 * (1 + retryJitter))
})

test('a key of another certificate, other names or an expired chain are not taken, and the old pair stays', async () => {
  await using folder = await temporaryFolder()
  const { clock, issuer, issued, results, load } = await setup(folder.path)
  const renewal = await load()
  void renewal.run(ended.signal)
  await eventually(() => expect(clock.alarms).toHaveLength(1))
  const at = clock.alarms[0]!
  const make = (names: string[], now: number) => issueLeaf(authority, { names, now, days: 10 })
  const [one, other] = [await make(['edge.test'], at), await make(['edge.test'], at)]
  issuer.script.push(
    { key: other.key, chain: one.chain },
    await make(['wrong.test'], at),
    await make(['edge.test'], at - 100 * day),
  )
  for (let tries = 1; tries <= 3; tries++) {
    clock.set(clock.alarms[0]!)
    await eventually(() => expect(renewal.failures?.count).toBe(tries))
    await eventually(() => expect(clock.alarms).toHaveLength(1))
    expect(renewal.failures?.code).toBe('bad_issued')
    expect(renewal.current?.fingerprint).toBe(issued[0]!.fingerprint)
  }
  expect(results).toEqual(['issued', 'bad_issued', 'bad_issued', 'bad_issued'])
})

test('two versions are kept in the store, the newest valid one is used', async () => {
  await using folder = await temporaryFolder()
  const { clock, store, issued, load } = await setup(folder.path)
  void (await load()).run(ended.signal)
  for (let round = 1; round <= 4; round++) {
    await eventually(() => expect(issued.length).toBe(round))
    await eventually(() => expect(clock.alarms).toHaveLength(1))
    clock.set(clock.alarms[0]!)
  }
  await eventually(() => expect(issued.length).toBe(5))
  const versions = await store.list('certificate/edge')
  expect(versions).toHaveLength(2)
  await store.remove(`certificate/edge/${versions[1]}`)
  const again = await (await setup(folder.path, clock)).load()
  expect(again.current?.fingerprint).toBe(issued[3]!.fingerprint)
})

test('the window of the authority is asked for once, kept over a restart, and asked for again when it said so', async () => {
  await using folder = await temporaryFolder()
  const { clock, issuer, load } = await setup(folder.path)
  const start = clock.now()
  const asked: number[] = []
  const window = { start: start + 20 * day, end: start + 24 * day }
  issuer.renewalInfo = async () => {
    asked.push(clock.now())
    return { ...window, askAt: clock.now() + day / 4 }
  }
  const running = new AbortController()
  const renewal = await load()
  const run = renewal.run(running.signal)
  await eventually(() => expect(clock.alarms).toEqual([start + day / 4]))
  expect(renewal.due).toEqual({ at: Math.round(window.start + 0.45 * 4 * day), why: 'suggested' })
  running.abort()
  await run
  const again = await setup(folder.path, clock)
  again.issuer.renewalInfo = issuer.renewalInfo
  const restarted = await again.load()
  expect(restarted.due).toEqual(renewal.due)
  const stopping = new AbortController()
  const second = restarted.run(stopping.signal)
  await eventually(() => expect(clock.alarms).toEqual([start + day / 4]))
  expect(asked).toEqual([start])
  window.start = start + day
  window.end = start + 2 * day
  clock.set(start + day / 4)
  await eventually(() => expect(asked).toHaveLength(2))
  await eventually(() => expect(restarted.due).toEqual({ at: Math.round(start + 1.45 * day), why: 'suggested' }))
  clock.set(restarted.due.at)
  await eventually(() => expect(again.issued).toHaveLength(1))
  expect(again.issuer.orders[0]?.current).toMatchObject({ isInWindow: true, isSame: true })
  stopping.abort()
  await second
})

test('an authority that does not answer is asked again six hours later, and time goes on without it', async () => {
  await using folder = await temporaryFolder()
  const { clock, issuer, load } = await setup(folder.path)
  const start = clock.now()
  issuer.renewalInfo = async () => {
    throw certsError('ca_unreachable', 'down')
  }
  const renewal = await load()
  void renewal.run(ended.signal)
  await eventually(() => expect(clock.alarms).toEqual([start + day / 4]))
  expect(renewal.due.why).toBe('renewal')
})

test('two certs on one store order once: the second decides again inside the lease', async () => {
  await using folder = await temporaryFolder()
  const one = await setup(folder.path)
  const { clock } = one
  const two = await setup(folder.path, clock)
  const running = new AbortController()
  const runs = [(await one.load()).run(running.signal), (await two.load()).run(running.signal)]
  for (let round = 1; round <= 3; round++) {
    await eventually(() => {
      // The one that finds the lease taken looks again after a few seconds.
      const [next = Infinity] = clock.alarms
      if (next - clock.now() < 60_000) clock.set(next)
      expect(one.issued).toHaveLength(round)
      expect(two.issued).toHaveLength(round)
      expect(clock.alarms).toHaveLength(2)
    })
    expect(one.issuer.calls + two.issuer.calls).toBe(round)
    expect(one.issued.at(-1)?.fingerprint).toBe(two.issued.at(-1)?.fingerprint)
    clock.set(clock.alarms[1]!)
  }
  running.abort()
  await Promise.all(runs)
})

test('what was revoked is replaced at once, also when its time has not come', async () => {
  await using folder = await temporaryFolder()
  const { clock, revoked, issued, load } = await setup(folder.path)
  const renewal = await load()
  void renewal.run(ended.signal)
  await eventually(() => expect(clock.alarms).toHaveLength(1))
  revoked.add(issued[0]!.fingerprint)
  renewal.refresh()
  await eventually(() => expect(issued).toHaveLength(2))
  expect(issued[1]!.key).not.toBe(issued[0]!.key)
})

test('after the stated time the next issuer is asked, after a failure that may repeat it is rehearsed first', async () => {
  await using folder = await temporaryFolder()
  const { clock, issuer, other, issued, load } = await setup(folder.path)
  const renewal = await load(wish({ issuers: ['local', 'other'], fallbackAfter: '1h', names: ['edge.test'] }))
  issuer.script.push(...Array.from({ length: 4 }, () => certsError('challenge_failed', 'not seen')))
  void renewal.run(ended.signal)
  for (let round = 1; round <= 3; round++) {
    await eventually(() => expect(issuer.calls).toBe(round))
    await eventually(() => expect(clock.alarms).toHaveLength(1))
    clock.set(clock.alarms[0]!)
  }
  await eventually(() => expect(issued).toHaveLength(1))
  expect(other.calls).toBe(1)
  expect(issued[0]!.issuer).toBe('other')
  expect(issuer.rehearsed).toEqual(['edge', 'edge'])
})
