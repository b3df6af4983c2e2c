import { FakeRecords } from '@damon/testkit/fake-records'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { aud, trustedIssuer } from '@damon/testkit/trusted-issuer'
import { openCertificate } from '@damon/trust/envelope'
import { createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { createReader, readerKey, signReceipt, signStatement } from '@damon/trust/reader'
import { type Clock, systemClock } from '../src/clock.ts'
import { Delivery } from '../src/delivery.ts'
import type { DeliveryRules } from '../src/delivery-rules.ts'
import type { Metrics } from '../src/metrics.ts'
import { ReaderRegistry } from '../src/reader-registry.ts'
import { Rollouts } from '../src/rollout.ts'
import { Shelf } from '../src/shelf.ts'
import { Store } from '../src/store.ts'
import { quiet, storeKey } from './acme-setup.ts'

const authority = await createAuthority({ name: 'test', now: Date.now(), days: 100 })
const issuer = await trustedIssuer()

/** A delivery that runs on in-memory records; `renew` stores a certificate and tells it. */
export async function setup({
  records = new FakeRecords(),
  state,
  clock = systemClock,
  rules = { canary: false, servedWithin: 120_000 },
}: {
  records?: FakeRecords
  state?: string
  clock?: Clock
  rules?: DeliveryRules
} = {}) {
  await using made = new AsyncDisposableStack()
  const path = state ?? made.use(await temporaryFolder()).path
  const store = await Store.open(path, storeKey)
  const shelf = new Shelf(store)
  await shelf.load('edge', clock.now())
  const refused: string[] = []
  const failedTrials: string[] = []
  const metrics: Metrics = {
    scheduled() {},
    attempt() {},
    delivered() {},
    readerRefused: (code) => void refused.push(code),
    stages() {},
    trialFailed: (id) => void failedTrials.push(id),
  }
  const { identity, token } = await issuer.credential('certs/one', ['issue:*'])
  const options = { trust: issuer.trust, aud, clock, metrics, log: quiet }
  const registry = new ReaderRegistry(options)
  const rollouts = new Rollouts({ rules: () => rules, store, clock, metrics, log: quiet })
  const sealing = { identity, token }
  const delivery = new Delivery({ ...options, records, registry, shelf, rules: () => rules, rollouts, ...sealing })
  const ending = new AbortController()
  const running = delivery.run(ending.signal)
  made.defer(async () => {
    ending.abort()
    await running
  })
  const resources = made.move()
  return {
    records,
    delivery,
    refused,
    failedTrials,
    rollouts,
    async renew(id = 'edge') {
      const names = [`${id}.test`]
      const pair = await issueLeaf(authority, { names, now: Date.now(), days: 30 })
      const certificate = await shelf.add(id, pair, { issuer: 'local', names }, clock.now())
      delivery.refresh()
      return certificate
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}

/** A reader's record, and what it takes to open what is sealed to it. */
export async function announce(
  records: FakeRecords,
  can: string[],
  wants: string[],
  options: { leased?: boolean } = {},
) {
  const { identity, token } = await issuer.credential('bot/one', can)
  const reader = await createReader('bot')
  const statement = await signStatement(reader, { identity, token, aud, wants, now: Date.now() })
  records.forge(readerKey(reader), { value: { statement }, leased: options.leased ?? true })
  const key = (id: string) => `cert/${reader.name}/${id}`
  const jws = (id: string) => (records.entries.get(key(id))?.value as { jws: string } | undefined)?.jws
  return {
    reader,
    key,
    jws,
    open: (text: string, id = 'edge', after = 0) =>
      openCertificate(text, { reader, id, aud, trust: issuer.trust, now: Date.now(), after }),
    /** What lies there for it now, by its outside. */
    lies(id = 'edge'): { fingerprint: string; version: number } | undefined {
      const payload = jws(id)?.split('.')[1]
      return payload === undefined ? undefined : JSON.parse(Buffer.from(payload, 'base64url').toString())
    },
    leave: () => records.drop(readerKey(reader), 'left'),
    async receive(serving: Record<string, { fingerprint: string; version: number }>) {
      const receipts = await signReceipt(reader, { identity, aud, serving })
      records.forge(readerKey(reader), { value: { statement, receipts }, leased: true })
    },
  }
}
