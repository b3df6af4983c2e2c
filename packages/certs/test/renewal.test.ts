import { eventually } from '@damon/testkit/eventually'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import type { CertificatePair } from '@damon/trust/envelope'
import { type Authority, createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Attempts } from '../src/attempts.ts'
import { certsError } from '../src/errors.ts'
import type { Issuer } from '../src/issuer.ts'
import type { Metrics } from '../src/metrics.ts'
import { Renewal } from '../src/renewal.ts'
import { Shelf, type StoredCertificate } from '../src/shelf.ts'
import { Store } from '../src/store.ts'
import { Turnstile } from '../src/turnstile.ts'
import { quiet, storeKey } from './acme-setup.ts'
import { ManualClock } from './manual-clock.ts'

const day = 86_400_000
const delivery = { canary: false, servedWithin: 120_000 }
const wanted = { id: 'edge', issuer: 'local', names: ['edge.test'], delivery }
const ended = new AbortController()
let authority: Authority

beforeAll(async () => {
  authority = await createAuthority({ name: 'test', now: 0, days: 4000 })
})
afterAll(() => ended.abort())

/** An issuer that does what the next entry of its script says, and the local thing once the script is over. */
class Scripted implements Issuer {
  readonly script: (Error | CertificatePair)[] = []
  calls = 0
  readonly #clock: ManualClock

  constructor(clock: ManualClock) {
    this.#clock = clock
  }

  async issue({ names }: { names: readonly string[] }): Promise<CertificatePair> {
    this.calls += 1
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
  const options = {
    shelf: new Shelf(store),
    attempts: new Attempts(store),
    clock,
    turnstile: new Turnstile(1),
    metrics,
    log: quiet,
    issued: (certificate: StoredCertificate) => void issued.push(certificate),
  }
  const load = (certificate = wanted) => Renewal.load(certificate, issuer, options)
  return { clock, store, issuer, results, issued, load }
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
  expect((await again.load({ ...wanted, names: ['edge.test', 'b.test'] })).due).toEqual({ at: 0, why: 'names changed' })
  expect((await again.load({ ...wanted, issuer: 'other' })).due.at).toBe(0)
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
  await eventually(() => expect(clock.alarms).toEqual([renewAt + 60_000]))
  clock.set(renewAt + 60_000)
  await eventually(() => expect(clock.alarms).toEqual([renewAt + 60_000 + 600_000]))
  expect(renewal.current?.fingerprint).toBe(issued[0]!.fingerprint)
  expect(renewal.failures).toMatchObject({ count: 2, code: 'ca_unavailable' })
  running.abort()
  await run
  const again = await setup(folder.path, clock)
  const restarted = await again.load()
  expect(restarted.due).toEqual({ at: renewAt + 660_000, why: 'retry' })
  void restarted.run(ended.signal)
  await eventually(() => expect(clock.alarms).toHaveLength(1))
  clock.set(renewAt + 660_000)
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
  await eventually(() => expect(clock.alarms).toEqual([start + day]))
  expect((await (await setup(folder.path, clock)).load()).due.at).toBe(start + 60_000)
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
