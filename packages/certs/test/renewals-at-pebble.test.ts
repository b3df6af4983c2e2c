import { X509Certificate } from 'node:crypto'
import type { Fault } from '@damon/testkit/acme-proxy'
import { eventually } from '@damon/testkit/eventually'
import { expect, test } from 'vitest'
import { Attempts } from '../src/attempts.ts'
import { Fleet } from '../src/fleet.ts'
import { Leases } from '../src/leases.ts'
import { certificateId } from '../src/renewal-info.ts'
import { Shelf, type StoredCertificate } from '../src/shelf.ts'
import { Suggestions } from '../src/suggestions.ts'
import { Turnstile } from '../src/turnstile.ts'
import { readWanted } from '../src/wanted.ts'
import { acmeSetup, hastyClock as clock, quiet as log } from './acme-setup.ts'

const hour = 3_600_000
const ids = ['a', 'b', 'c', 'd', 'e']
const renewals = 6
/** A suggestion counts from a hundredth of the life on: a second after each issue the next one is due. */
const lifetimeSeconds = 100

/** What the authority does in turn, one of them at every sixth call; each can be got over within the attempt. */
const faults: readonly Fault[] = [
  { resource: 'newOrder', status: 429, headers: { 'retry-after': '1' } },
  { resource: 'finalize', status: 500, afterwards: true },
  { resource: 'challenge', status: 400, type: 'badNonce', times: 2 },
  { resource: 'order', slowMs: 300 },
  { resource: 'authorization', status: 503, times: 2 },
  { resource: 'certificate', cut: true },
  { resource: 'newOrder', cut: true },
  { resource: 'finalize', cut: true, afterwards: true },
  { resource: 'challenge', status: 500, afterwards: true },
  { resource: 'nonce', cut: true },
  { resource: 'order', status: 500 },
]

test('a real authority that wants certificates replaced time and again, and errs meanwhile, gets one order for each, in its window', async () => {
  await using setup = await acmeSetup({ lifetimeSeconds })
  const { proxy, pebble, store } = setup
  proxy.windows.set('*', { start: Date.now() - 4 * hour, end: Date.now() + hour / 10 })
  let calls = 0
  let erred = 0
  // A nonce is asked for once others were lost, by the errors that follow.
  const awaited = () => proxy.faults.some(({ resource }) => resource !== 'nonce')
  proxy.onCall = () => {
    if (++calls % 6 !== 0 || awaited()) return
    proxy.faults.push({ ...faults[erred++ % faults.length]! })
  }
  const issued = new Map<string, StoredCertificate[]>()
  const results: string[] = []
  const late: string[] = []
  {
    await using fleet = new Fleet({
      issuer: () => setup.issuer,
      shelf: new Shelf(store),
      attempts: new Attempts(store),
      suggestions: new Suggestions(store),
      revocations: { of: () => undefined },
      leases: new Leases({ store, clock, log }),
      clock,
      turnstile: new Turnstile(2),
      questions: new Turnstile(2),
      metrics: {
        scheduled() {},
        attempt: (_, result) => void results.push(result),
        delivered() {},
        readerRefused() {},
        stages() {},
        trialFailed() {},
      },
      log,
      issued(certificate) {
        const before = issued.get(certificate.id)?.at(-1)
        if (before && before.notAfter <= Date.now()) late.push(certificate.id)
        issued.set(certificate.id, [...(issued.get(certificate.id) ?? []), certificate])
      },
    })
    const certificates = Object.fromEntries(
      ids.map((id, index) => [
        id,
        { issuer: 'pebble', names: index % 2 ? [`${id}.example.net`] : [`${id}.example.com`, `*.${id}.example.com`] },
      ]),
    )
    const acme = { type: 'acme', directory: proxy.directoryUrl, termsAgreed: true }
    await fleet.apply(readWanted(JSON.stringify({ issuers: { pebble: acme }, certificates })))
    await eventually(
      () => {
        for (const id of ids) expect(issued.get(id)?.length).toBeGreaterThan(renewals)
        // The next one waits until somebody met the one before it.
        expect(erred).toBeGreaterThan(faults.length)
        expect(proxy.faults.map(({ resource }) => resource)).not.toContain('nonce')
      },
      { deadlineMs: 100_000 },
    )
  }
  expect(late).toEqual([])
  expect(results.every((result) => result === 'issued')).toBe(true)
  // Nobody ordered twice what one order gives: not after a cut line, not after a lost answer.
  const serials = [...issued.values()].flat().map(({ chain }) => new X509Certificate(chain).serialNumber)
  expect(new Set(serials).size).toBe(serials.length)
  // An order that was under way at the end may have come to a certificate that nobody took any more.
  expect(pebble.issued() - serials.length).toBeLessThanOrEqual(2)
  // More than five in a week for the same names: each named the one that it replaces, within its window, so none counted.
  const replaced = proxy.calls.filter(({ resource, status }) => resource === 'newOrder' && status === 201)
  for (const list of issued.values()) {
    for (const { chain } of list.slice(0, -1)) {
      expect(replaced.some(({ payload }) => payload?.replaces === certificateId(chain))).toBe(true)
    }
  }
  proxy.onCall = () => {}
  await setup.records.sweep()
  for (const zone of ['example.com', 'example.net']) expect(setup.api.records(zone)).toEqual([])
}, 150_000)
