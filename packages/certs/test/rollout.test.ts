import { eventually } from '@damon/testkit/eventually'
import { FakeRecords } from '@damon/testkit/fake-records'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, test } from 'vitest'
import { trialPauses } from '../src/canary.ts'
import { announce, setup } from './delivery-setup.ts'
import { ManualClock } from './manual-clock.ts'

const rules = { canary: true, servedWithin: 30_000 }

/** Three readers that serve a first certificate, and a second one that was just issued. */
async function renewed(options: { state?: string } = {}) {
  const clock = new ManualClock(Date.now())
  const certs = await setup({ clock, rules, ...options })
  const readers = await Promise.all([1, 2, 3].map(() => announce(certs.records, ['cert:edge'], ['edge'])))
  const first = await certs.renew()
  await eventually(() =>
    expect(readers.map((one) => one.lies()?.fingerprint)).toEqual(Array(3).fill(first.fingerprint)),
  )
  for (const one of readers) await one.receive({ edge: { fingerprint: first.fingerprint, version: 1 } })
  await eventually(() => expect(certs.delivery.stages.map(({ served }) => served)).toEqual([true, true, true]))
  const second = await certs.renew()
  const having = (fingerprint: string) => readers.filter((one) => one.lies()?.fingerprint === fingerprint)
  await eventually(() => expect(having(second.fingerprint)).toHaveLength(1))
  const canary = having(second.fingerprint)[0]!
  // Its time runs as soon as certs has seen its own delivery.
  await eventually(() => expect(certs.delivery.trial('edge')?.until).toBe(canary.lies()!.version + rules.servedWithin))
  return { clock, certs, readers, first, second, having, canary }
}

test('one reader has the new certificate first, the others when it has proven it, and newcomers what the others have', async () => {
  const { certs, first, second, having, canary } = await renewed()
  await using _certs = certs
  expect(certs.delivery.trial('edge')).toMatchObject({ canary: canary.reader.name, failures: 0 })
  const late = await announce(certs.records, ['cert:edge'], ['edge'])
  await eventually(() => expect(late.lies()?.fingerprint).toBe(first.fingerprint))
  expect(having(second.fingerprint)).toEqual([canary])
  await canary.receive({ edge: { fingerprint: second.fingerprint, version: 2 } })
  await eventually(() => expect(having(second.fingerprint)).toHaveLength(3))
  await eventually(() => expect(late.lies()?.fingerprint).toBe(second.fingerprint))
  expect(certs.delivery.trial('edge')).toBeUndefined()
  expect(certs.failedTrials).toEqual([])
})

test('a canary that does not prove it has the one before again under a new version, and another reader tries later', async () => {
  const { clock, certs, readers, first, second, having, canary } = await renewed()
  await using _certs = certs
  const { version } = canary.lies()!
  clock.set(version + rules.servedWithin)
  await eventually(() => expect(having(first.fingerprint)).toHaveLength(3))
  expect(canary.lies()!.version).toBeGreaterThan(version)
  expect((await canary.open(canary.jws('edge')!, 'edge', version)).key).toBe(first.key)
  expect(certs.failedTrials).toEqual(['edge'])
  await eventually(() => expect(certs.delivery.trial('edge')).toMatchObject({ failures: 1 }))
  clock.set(clock.now() + trialPauses[0] * 60_000)
  await eventually(() => expect(having(second.fingerprint)).toHaveLength(1))
  const other = having(second.fingerprint)[0]!
  expect(other).not.toBe(canary)
  await other.receive({ edge: { fingerprint: second.fingerprint, version: 9 } })
  await eventually(() => expect(having(second.fingerprint)).toHaveLength(readers.length))
})

test('a canary that goes away has failed: nobody else gets what may have ended it', async () => {
  const { certs, first, second, having, canary } = await renewed()
  await using _certs = certs
  await canary.leave()
  await eventually(() => expect(certs.failedTrials).toEqual(['edge']))
  expect(having(second.fingerprint)).toEqual([])
  expect(having(first.fingerprint)).toHaveLength(2)
})

test('a restart goes on with the trial that was under way', async () => {
  await using folder = await temporaryFolder()
  const { clock, certs, second, having, canary } = await renewed({ state: folder.path })
  await certs[Symbol.asyncDispose]()
  await using again = await setup({ records: certs.records, state: folder.path, clock, rules })
  await eventually(() => expect(again.delivery.trial('edge')?.canary).toBe(canary.reader.name))
  expect(having(second.fingerprint)).toEqual([canary])
  await canary.receive({ edge: { fingerprint: second.fingerprint, version: 2 } })
  await eventually(() => expect(having(second.fingerprint)).toHaveLength(3))
})

test('after a compromise the pair before is not used again: everyone has the new one at once', async () => {
  const { certs, second, having } = await renewed()
  await using _certs = certs
  await certs.rollouts.compromised(second)
  const third = await certs.renew()
  await eventually(() => expect(having(third.fingerprint)).toHaveLength(3))
  // The one after that is tried again: the compromise is over.
  for (const one of having(third.fingerprint)) await one.receive({ edge: { ...third, version: 3 } })
  await eventually(() => expect(certs.delivery.stages.filter(({ served }) => served)).toHaveLength(3))
  const fourth = await certs.renew()
  await eventually(() => expect(having(fourth.fingerprint)).toHaveLength(1))
})

test('the first certificate of all has nothing to go back to and comes to everyone', async () => {
  await using certs = await setup({ records: new FakeRecords(), rules })
  const readers = [
    await announce(certs.records, ['cert:edge'], ['edge']),
    await announce(certs.records, ['cert:edge'], ['edge']),
  ]
  const { fingerprint } = await certs.renew()
  await eventually(() => {
    for (const one of readers) expect(one.lies()?.fingerprint).toBe(fingerprint)
  })
})
