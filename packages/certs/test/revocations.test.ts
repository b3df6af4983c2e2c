import { eventually } from '@damon/testkit/eventually'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, onTestFinished, test } from 'vitest'
import { certsError } from '../src/errors.ts'
import type { Issuer } from '../src/issuer.ts'
import { Revocations } from '../src/revocations.ts'
import { retryTable } from '../src/schedule.ts'
import type { StoredCertificate } from '../src/shelf.ts'
import { Store } from '../src/store.ts'
import { quiet as log, storeKey } from './acme-setup.ts'
import { ManualClock } from './manual-clock.ts'

const start = Date.parse('2026-12-01T00:00:00Z')
const certificate: StoredCertificate = {
  id: 'edge',
  key: 'a key',
  chain: 'a chain',
  issuer: 'le',
  names: ['edge.test'],
  keyType: 'p256',
  fingerprint: 'f'.repeat(64),
  notBefore: start - 1,
  notAfter: start + 90 * 86_400_000,
}

/** The revocations of a store that run, at an authority that refuses so many times. */
async function running(path: string, clock: ManualClock, refusals: number, isThere = () => true) {
  const asked: string[] = []
  const issuer: Pick<Issuer, 'revoke'> = {
    async revoke(chain, reason) {
      asked.push(`${chain} ${reason}`)
      if (asked.length <= refusals) throw certsError('ca_unavailable', 'Not now.')
    },
  }
  const revocations = await Revocations.load({
    store: await Store.open(path, storeKey),
    clock,
    log,
    issuer: () => (isThere() ? (issuer as Issuer) : undefined),
  })
  const ending = new AbortController()
  const done = revocations.run(ending.signal)
  const stop = async () => {
    ending.abort()
    await done
  }
  onTestFinished(stop)
  return { revocations, asked, stop }
}

test('the authority is asked again by the table until it confirms, also after a restart, and then no more', async () => {
  await using folder = await temporaryFolder()
  const clock = new ManualClock(start)
  const first = await running(folder.path, clock, 1)
  await first.revocations.add(certificate, 'keyCompromise')
  await eventually(() => expect(first.asked).toEqual(['a chain keyCompromise']))
  await eventually(() => expect(clock.alarms).toEqual([start + retryTable[0]]))
  expect(first.revocations.of(certificate.fingerprint)).toMatchObject({ reason: 'keyCompromise' })
  await first.stop()
  const second = await running(folder.path, clock, 0)
  await eventually(() => expect(second.revocations.of(certificate.fingerprint)?.doneAt).toBe(start))
  expect(second.asked).toHaveLength(1)
  await second.stop()
  const third = await running(folder.path, clock, 0)
  expect(third.revocations.of(certificate.fingerprint)?.doneAt).toBe(start)
  clock.set(certificate.notAfter)
  await third.stop()
  expect(third.asked).toEqual([])
  expect((await running(folder.path, clock, 0)).revocations.of(certificate.fingerprint)).toBeUndefined()
})

test('what nobody could be asked for is not taken for revoked: it is when its issuer is in the file again', async () => {
  await using folder = await temporaryFolder()
  const clock = new ManualClock(start)
  let isThere = false
  const { revocations, asked } = await running(folder.path, clock, 0, () => isThere)
  await revocations.add(certificate, 'superseded')
  await eventually(() => expect(clock.alarms).toEqual([start + retryTable[0]]))
  expect(revocations.of(certificate.fingerprint)?.doneAt).toBeUndefined()
  isThere = true
  clock.set(start + retryTable[0])
  await eventually(() => expect(revocations.of(certificate.fingerprint)?.doneAt).toBe(start + retryTable[0]))
  expect(asked).toEqual(['a chain superseded'])
})
