import { DamonError } from '@damon/protocol/errors'
import { eventually } from '@damon/testkit/eventually'
import { FakeRecords } from '@damon/testkit/fake-records'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { aud, type TrustedIssuer, trustedIssuer } from '@damon/testkit/trusted-issuer'
import { openCertificate } from '@damon/trust/envelope'
import { type Authority, createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { createReader, readerKey, signReceipt, signStatement } from '@damon/trust/reader'
import { beforeAll, expect, test } from 'vitest'
import { systemClock } from '../src/clock.ts'
import { Delivery } from '../src/delivery.ts'
import type { Metrics } from '../src/metrics.ts'
import { ReaderRegistry } from '../src/reader-registry.ts'
import { Shelf } from '../src/shelf.ts'
import { Store } from '../src/store.ts'
import { quiet, storeKey } from './acme-setup.ts'

let authority: Authority
let issuer: TrustedIssuer

beforeAll(async () => {
  authority = await createAuthority({ name: 'test', now: Date.now(), days: 100 })
  issuer = await trustedIssuer()
})

/** A delivery that runs on in-memory records; `renew` stores a certificate and tells it. */
async function setup(records = new FakeRecords(), state?: string) {
  await using made = new AsyncDisposableStack()
  const path = state ?? made.use(await temporaryFolder()).path
  const shelf = new Shelf(await Store.open(path, storeKey))
  await shelf.load('edge', Date.now())
  const refused: string[] = []
  const metrics: Metrics = {
    scheduled() {},
    attempt() {},
    delivered() {},
    readerRefused: (code) => void refused.push(code),
    stages() {},
  }
  const { identity, token } = await issuer.credential('certs/one', ['issue:*'])
  const options = { trust: issuer.trust, aud, clock: systemClock, metrics, log: quiet }
  const registry = new ReaderRegistry(options)
  const delivery = new Delivery({ ...options, records, registry, shelf, identity, token })
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
    async renew(id = 'edge') {
      const names = [`${id}.test`]
      const pair = await issueLeaf(authority, { names, now: Date.now(), days: 30 })
      const certificate = await shelf.add(id, pair, { issuer: 'local', names }, Date.now())
      delivery.refresh()
      return certificate
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}

/** A reader's record, and what it takes to open what is sealed to it. */
async function announce(records: FakeRecords, can: string[], wants: string[], options: { leased?: boolean } = {}) {
  const { identity, token } = await issuer.credential('bot/one', can)
  const reader = await createReader('bot')
  const statement = await signStatement(reader, { identity, token, aud, wants, now: Date.now() })
  records.forge(readerKey(reader), { value: { statement }, leased: options.leased ?? true })
  const key = (id: string) => `cert/${reader.name}/${id}`
  return {
    reader,
    key,
    jws: (id: string) => (records.entries.get(key(id))?.value as { jws: string } | undefined)?.jws,
    open: (jws: string, id = 'edge', after = 0) =>
      openCertificate(jws, { reader, id, aud, trust: issuer.trust, now: Date.now(), after }),
    leave: () => records.drop(readerKey(reader), 'left'),
    async receive(serving: Record<string, { fingerprint: string; version: number }>) {
      const receipts = await signReceipt(reader, { identity, aud, serving })
      records.forge(readerKey(reader), { value: { statement, receipts }, leased: true })
    },
  }
}

test('a reader gets each certificate it wants, sealed to its key, and the next one with a higher version', async () => {
  await using certs = await setup()
  const bot = await announce(certs.records, ['cert:edge', 'cert:other'], ['edge', 'other'])
  const first = await certs.renew()
  await certs.renew('other')
  const text = await eventually(() => expect(bot.jws('edge')).toBeDefined()).then(() => bot.jws('edge')!)
  const opened = await bot.open(text)
  expect(opened).toMatchObject({ key: first.key, chain: first.chain, fingerprint: first.fingerprint })
  await eventually(() => expect(bot.jws('other')).toBeDefined())
  const second = await certs.renew()
  await eventually(() => expect(bot.jws('edge')).not.toBe(text))
  const next = await bot.open(bot.jws('edge')!, 'edge', opened.version)
  expect(next.fingerprint).toBe(second.fingerprint)
  expect(JSON.stringify([...certs.records.entries])).not.toContain('PRIVATE KEY')
})

test('a reader may have only what its token says', async () => {
  await using certs = await setup()
  await certs.renew()
  await certs.renew('other')
  const bot = await announce(certs.records, ['cert:edge'], ['edge', 'other'])
  await eventually(() => expect(bot.jws('edge')).toBeDefined())
  expect(bot.jws('other')).toBeUndefined()
})

test('records that prove nothing are refused and counted, once each', async () => {
  await using certs = await setup()
  await certs.renew()
  const honest = await announce(certs.records, ['cert:edge'], ['edge'])
  const unleased = await announce(certs.records, ['cert:edge'], ['edge'], { leased: false })
  const mallory = await createReader('bot')
  const { statement } = certs.records.entries.get(readerKey(honest.reader))!.value as { statement: string }
  certs.records.forge(readerKey(mallory), { value: { statement }, leased: true })
  certs.records.forge('cert-reader/bot/0123456789abcdef', { value: 'garbage', leased: true })
  await eventually(() => expect(honest.jws('edge')).toBeDefined())
  await eventually(() => expect(certs.refused).toEqual(['bad_reader', 'bad_reader', 'bad_reader']))
  certs.delivery.refresh()
  await certs.renew()
  await eventually(() => expect(certs.delivery.stages).toHaveLength(1))
  const keys = [...certs.records.entries.keys()].filter((key) => key.startsWith('cert/'))
  expect(keys).toEqual([honest.key('edge')])
  expect(unleased.jws('edge')).toBeUndefined()
  expect(certs.refused).toHaveLength(3)
})

test('what was sealed for a reader is dropped when it goes, also what an earlier life left', async () => {
  const records = new FakeRecords()
  records.forge('cert/bot/0123456789abcdef/edge', { value: { jws: 'a.b.c' }, leased: false })
  await using certs = await setup(records)
  await certs.renew()
  await eventually(() => expect(records.entries.size).toBe(0))
  const bot = await announce(records, ['cert:edge'], ['edge'])
  await eventually(() => expect(bot.jws('edge')).toBeDefined())
  await bot.leave()
  await eventually(() => expect(records.entries.size).toBe(0))
})

test('a restart delivers nothing anew that lies there already', async () => {
  await using folder = await temporaryFolder()
  const records = new FakeRecords()
  const bot = await announce(records, ['cert:edge', 'cert:other'], ['edge', 'other'])
  const first = await setup(records, folder.path)
  const { fingerprint } = await first.renew()
  await eventually(() => expect(first.delivery.stages).toMatchObject([{ delivered: true }]))
  await first[Symbol.asyncDispose]()
  records.log.length = 0
  await using second = await setup(records, folder.path)
  await second.renew('other')
  await eventually(() => expect(second.delivery.stages).toMatchObject([{ delivered: true }, { delivered: true }]))
  expect(records.log).toEqual([`put ${bot.key('other')}`])
  expect((await bot.open(bot.jws('edge')!)).fingerprint).toBe(fingerprint)
})

test('versions rise above those that an earlier life delivered, even when the clock went back', async () => {
  const records = new FakeRecords()
  const bot = await announce(records, ['cert:edge'], ['edge'])
  const future = Date.now() + 3_600_000
  const payload = Buffer.from(JSON.stringify({ version: future, fingerprint: '00' })).toString('base64url')
  records.forge(bot.key('edge'), { value: { jws: `a.${payload}.c` }, leased: false })
  await using certs = await setup(records)
  await certs.renew()
  await eventually(() => expect(certs.delivery.versions.get('edge')).toBe(future + 1))
})

test('a hub that cannot store is asked again until it can', async () => {
  await using certs = await setup()
  const bot = await announce(certs.records, ['cert:edge'], ['edge'])
  certs.records.failures.push(new DamonError('unavailable', 'not now'), new DamonError('disconnected', 'nor now'))
  await certs.renew()
  await eventually(() => expect(bot.jws('edge')).toBeDefined())
})

test('a receipt for the current certificate shows as served, one for an old one does not, a forged one is refused', async () => {
  await using certs = await setup()
  const bot = await announce(certs.records, ['cert:edge'], ['edge'])
  const { fingerprint } = await certs.renew()
  await eventually(() => expect(certs.delivery.stages).toMatchObject([{ delivered: true, served: false }]))
  await bot.receive({ edge: { fingerprint, version: 1 } })
  await eventually(() => expect(certs.delivery.stages).toMatchObject([{ delivered: true, served: true }]))
  await certs.renew()
  await eventually(() => expect(certs.delivery.stages).toMatchObject([{ delivered: true, served: false }]))
  const record = certs.records.entries.get(readerKey(bot.reader))!
  const receipts = `${(record.value as { receipts: string }).receipts.slice(0, -8)}AAAAAAAA`
  certs.records.forge(readerKey(bot.reader), { ...record, value: { ...(record.value as object), receipts } })
  await eventually(() => expect(certs.refused).toEqual(['bad_reader']))
  expect(certs.delivery.stages).toMatchObject([{ delivered: true, served: false }])
})

test('two certs by mistake do not answer each other without end', async () => {
  const records = new FakeRecords()
  const bot = await announce(records, ['cert:edge'], ['edge'])
  await using one = await setup(records)
  await one.renew()
  await eventually(() => expect(one.delivery.stages).toMatchObject([{ delivered: true }]))
  await using two = await setup(records)
  await two.renew()
  await eventually(() => expect(two.delivery.stages).toMatchObject([{ delivered: true }]))
  await eventually(() => expect(one.delivery.stages).toMatchObject([{ delivered: false }]))
  const another = await announce(records, ['cert:edge'], ['edge'])
  await eventually(() => expect(another.jws('edge')).toBeDefined())
  expect(records.log.filter((line) => line === `put ${bot.key('edge')}`)).toHaveLength(2)
})
