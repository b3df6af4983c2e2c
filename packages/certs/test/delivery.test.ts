import { DamonError } from '@damon/protocol/errors'
import { eventually } from '@damon/testkit/eventually'
import { FakeRecords } from '@damon/testkit/fake-records'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { createReader, readerKey } from '@damon/trust/reader'
import { expect, test } from 'vitest'
import { announce, setup } from './delivery-setup.ts'
import { ManualClock } from './manual-clock.ts'

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
  await using certs = await setup({ records })
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
  const first = await setup({ records, state: folder.path })
  const { fingerprint } = await first.renew()
  await eventually(() => expect(first.delivery.stages).toMatchObject([{ delivered: true }]))
  await first[Symbol.asyncDispose]()
  records.log.length = 0
  await using second = await setup({ records, state: folder.path })
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
  await using certs = await setup({ records })
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
  await using one = await setup({ records })
  await one.renew()
  await eventually(() => expect(one.delivery.stages).toMatchObject([{ delivered: true }]))
  await using two = await setup({ records })
  await two.renew()
  await eventually(() => expect(two.delivery.stages).toMatchObject([{ delivered: true }]))
  await eventually(() => expect(one.delivery.stages).toMatchObject([{ delivered: false }]))
  const another = await announce(records, ['cert:edge'], ['edge'])
  await eventually(() => expect(another.jws('edge')).toBeDefined())
  expect(records.log.filter((line) => line === `put ${bot.key('edge')}`)).toHaveLength(2)
})

test('a reader that does not serve in time what was delivered is late, until it does', async () => {
  const clock = new ManualClock(Date.now())
  await using certs = await setup({ clock, rules: { canary: false, servedWithin: 30_000 } })
  const [prompt, slow] = [
    await announce(certs.records, ['cert:edge'], ['edge']),
    await announce(certs.records, ['cert:edge'], ['edge']),
  ]
  const { fingerprint } = await certs.renew()
  await eventually(() => expect(certs.delivery.stages).toMatchObject([{ delivered: true }, { delivered: true }]))
  await prompt.receive({ edge: { fingerprint, version: 1 } })
  const late = (one: { reader: { name: string } }) =>
    certs.delivery.stages.find(({ reader }) => reader === one.reader.name)?.late
  await eventually(() => expect(clock.alarms).toEqual([slow.lies()!.version + 30_000]))
  expect([late(prompt), late(slow)]).toEqual([false, false])
  clock.set(clock.now() + 31_000)
  await eventually(() => expect([late(prompt), late(slow)]).toEqual([false, true]))
  await slow.receive({ edge: { fingerprint, version: 1 } })
  await eventually(() => expect([late(prompt), late(slow)]).toEqual([false, false]))
})
