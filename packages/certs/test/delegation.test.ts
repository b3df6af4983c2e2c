import { AuthoritativeDns } from '@damon/testkit/authoritative-dns'
import { expect, test } from 'vitest'
import { systemClock } from '../src/clock.ts'
import { challengeTarget } from '../src/delegation.ts'
import { nameservers } from '../src/nameservers.ts'
import { untilPublished } from '../src/propagation.ts'

const never = new AbortController().signal
const name = '_acme-challenge.example.com'
const servers = [
  { name: 'ns1.dns.test', addresses: ['127.0.0.1', '::1'] },
  { name: 'ns2.dns.test', addresses: ['127.0.0.2'] },
]
const timing = { intervalMs: 10, deadlineMs: 400, rounds: 3 }

async function setup() {
  const dns = await AuthoritativeDns.start({ zones: ['example.com', 'example.net'], servers })
  return { dns, asking: nameservers({ resolvers: [dns.address], port: dns.port }) }
}

test('a challenge is answered where CNAME records lead, else under its own name', async () => {
  const { dns, asking } = await setup()
  await using _dns = dns
  expect(await challengeTarget(name, asking)).toBe(name)
  dns.alias(name, 'one.example.net')
  dns.alias('one.example.net', 'two.example.net')
  expect(await challengeTarget(name, asking)).toBe('two.example.net')
})

test('a circle of CNAME records, and a server that does not answer, are told as such', async () => {
  const { dns, asking } = await setup()
  await using _dns = dns
  dns.alias(name, 'one.example.net')
  dns.alias('one.example.net', name)
  await expect(challengeTarget(name, asking)).rejects.toMatchObject({
    code: 'delegation_broken',
    message: expect.stringContaining(`${name} -> one.example.net -> ${name} goes in a circle`),
  })
  dns.setMode('127.0.0.1', 'refusing')
  await expect(challengeTarget(name, asking)).rejects.toMatchObject({ code: 'delegation_broken' })
})

test('every server of the zone is asked, over IPv4 and IPv6, several times in a row', async () => {
  const { dns, asking } = await setup()
  await using _dns = dns
  await dns.addTxt(name, 'a value')
  const values = [{ name, value: 'a value' }]
  await untilPublished({ nameservers: asking, zone: 'example.com', values, clock: systemClock, timing, signal: never })
  const asked = dns.asked.filter(({ question }) => question === `${name} TXT`).map(({ address }) => address)
  for (const address of ['127.0.0.1', '127.0.0.2', '::1']) {
    expect(asked.filter((one) => one === address)).toHaveLength(timing.rounds)
  }
})

test('a server that lags behind the others holds everything up, and is named', async () => {
  const { dns, asking } = await setup()
  await using _dns = dns
  dns.setMode('127.0.0.2', 'stale')
  await dns.addTxt(name, 'a value')
  const values = [{ name, value: 'a value' }]
  const wait = () =>
    untilPublished({ nameservers: asking, zone: 'example.com', values, clock: systemClock, timing, signal: never })
  await expect(wait()).rejects.toMatchObject({
    code: 'not_propagated',
    message: expect.stringContaining(`ns2.dns.test (127.0.0.2:${dns.port}) lacks 1 of the TXT values`),
  })
  dns.setMode('127.0.0.2', 'fresh')
  await wait()
})

test('more values than a datagram holds are read over TCP', async () => {
  const { dns, asking } = await setup()
  await using _dns = dns
  const values = Array.from({ length: 40 }, (_, n) => `value ${n} `.padEnd(43, '.'))
  for (const value of values) await dns.addTxt(name, value)
  expect([...(await asking.txt(dns.address, name))].sort()).toEqual([...values].sort())
})
