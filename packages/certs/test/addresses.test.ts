import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Secret } from '@damon/runtime/secret'
import { eventually } from '@damon/testkit/eventually'
import { FakeDigitalOcean } from '@damon/testkit/fake-digitalocean'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, onTestFinished, test } from 'vitest'
import { addressRules } from '../src/addresses.ts'
import { systemClock } from '../src/clock.ts'
import { Ddns } from '../src/ddns.ts'
import { DigitalOceanDns } from '../src/dns-digitalocean.ts'
import { ofInterface, publicAddress } from '../src/public-address.ts'
import { Store } from '../src/store.ts'
import { readWanted } from '../src/wanted.ts'
import { quiet, storeKey } from './acme-setup.ts'
import { ManualClock } from './manual-clock.ts'

const never = new AbortController().signal
const name = 'hub.example.com'

/** Follows one name on a clock that is moved by hand; `address` is what is found next. */
async function following(api: FakeDigitalOcean, folder: string, first = '192.0.2.1') {
  const clock = new ManualClock(1_000_000)
  const found = { address: first as string | undefined, asked: 0, odd: [] as string[], failure: false }
  const ddns = new Ddns({
    rules: () => ({ [name]: addressRules.parse({ from: 'interface', families: [4] }) }),
    dns: new DigitalOceanDns({ token: new Secret(api.token), url: api.url, clock: systemClock }),
    store: await Store.open(folder, storeKey),
    clock,
    log: quiet,
    find: async () => {
      found.asked += 1
      if (found.failure) throw new Error('cannot be told')
      return found.odd.shift() ?? found.address
    },
  })
  const ending = new AbortController()
  const running = ddns.run(ending.signal)
  const stop = async () => {
    ending.abort()
    await running
  }
  onTestFinished(stop)
  const addresses = () =>
    api.records('example.com').flatMap(({ type, name, data }) => (type === 'A' && name === 'hub' ? data : []))
  const pass = async (ms: number) => {
    await clock.slept
    clock.set(clock.now() + ms)
    await clock.slept
  }
  return { clock, found, ddns, addresses, pass, stop }
}

test('the record follows the address, is written only when it changes, and the change is kept with what was before', async () => {
  await using folder = await temporaryFolder()
  await using api = await FakeDigitalOcean.start({ zones: ['example.com'] })
  await api.seed('example.com', { type: 'A', name: 'hub', data: '198.51.100.9' })
  await api.seed('example.com', { type: 'A', name: 'www', data: '198.51.100.9' })
  await api.seed('example.com', { type: 'AAAA', name: 'hub', data: '2001:db8::9' })
  const one = await following(api, folder.path)
  await eventually(() => expect(one.addresses()).toEqual(['192.0.2.1']))
  expect(api.records('example.com').find(({ data }) => data === '192.0.2.1')?.ttl).toBe(30)
  expect(
    api
      .records('example.com')
      .map(({ name, type }) => `${name} ${type}`)
      .toSorted(),
  ).toEqual(['hub A', 'hub AAAA', 'www A'])
  const calls = api.requests.length
  for (let times = 0; times < 3; times++) await one.pass(10_000)
  expect(api.requests).toHaveLength(calls)
  one.found.address = '192.0.2.2'
  await one.pass(10_000)
  await eventually(() => expect(one.addresses()).toEqual(['192.0.2.2']))
  await eventually(async () =>
    expect(await one.ddns.lastChange(name, 4)).toMatchObject({ name, address: '192.0.2.2', before: '192.0.2.1' }),
  )
  await one.stop()
  // The next life looks once, and finds nothing to change.
  const changes = () => api.requests.filter(({ method }) => method !== 'GET').length
  const before = changes()
  const two = await following(api, folder.path, '192.0.2.2')
  await two.pass(0)
  expect(changes()).toBe(before)
  expect(await two.ddns.lastChange(name, 4)).toMatchObject({ address: '192.0.2.2' })
})

test('one odd answer, none, and an answer that cannot be had change nothing', async () => {
  await using folder = await temporaryFolder()
  await using api = await FakeDigitalOcean.start({ zones: ['example.com'] })
  const one = await following(api, folder.path)
  await eventually(() => expect(one.addresses()).toEqual(['192.0.2.1']))
  one.found.odd.push('203.0.113.5')
  await one.pass(10_000)
  one.found.address = undefined
  await one.pass(10_000)
  one.found.failure = true
  await one.pass(10_000)
  const { asked } = one.found
  await one.pass(1_000)
  // After a failure it waits longer than it would otherwise.
  expect(one.found.asked).toBe(asked)
  expect(one.addresses()).toEqual(['192.0.2.1'])
})

test('a record that was made by hand with a long time to live is replaced', async () => {
  await using folder = await temporaryFolder()
  await using api = await FakeDigitalOcean.start({ zones: ['example.com'] })
  await api.seed('example.com', { type: 'A', name: 'hub', data: '192.0.2.1' })
  const one = await following(api, folder.path)
  await eventually(() => expect(api.records('example.com')).toMatchObject([{ data: '192.0.2.1', ttl: 30 }]))
  await one.stop()
})

test('a service is asked for the address, over the family in question, and only an address is believed', async () => {
  let answer = { status: 200, text: '192.0.2.7\n' }
  const server = createServer((_, response) => {
    response.writeHead(answer.status)
    response.end(answer.text)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const from = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  expect(await publicAddress({ from }, 4, never)).toBe('192.0.2.7')
  for (const [status, text, problem] of [
    [200, '<html>', 'no IPv4 address'],
    [200, '2001:db8::1', 'no IPv4 address'],
    [200, 'x'.repeat(10_000), 'longer than an address'],
    [503, '192.0.2.7', 'answers 503'],
  ] as const) {
    answer = { status, text }
    await expect(publicAddress({ from }, 4, never)).rejects.toThrow(problem)
  }
  answer = { status: 404, text: '' }
  expect(await publicAddress({ from }, 4, never)).toBeUndefined()
})

test('of an interface the first address is taken that others can reach', () => {
  const entry = (address: string, family: 'IPv4' | 'IPv6') =>
    ({ address, family, netmask: '', mac: '', internal: false, cidr: null, scopeid: 0 }) as never
  const interfaces = {
    lo: [entry('127.0.0.1', 'IPv4'), entry('::1', 'IPv6')],
    eth0: [entry('10.0.0.4', 'IPv4'), entry('fe80::1', 'IPv6'), entry('fd00::4', 'IPv6'), entry('2001:db8::4', 'IPv6')],
    eth1: [entry('203.0.113.4', 'IPv4')],
  }
  expect(ofInterface(undefined, 4, interfaces)).toBe('203.0.113.4')
  expect(ofInterface(undefined, 6, interfaces)).toBe('2001:db8::4')
  expect(ofInterface('eth0', 4, interfaces)).toBe('10.0.0.4')
  expect(ofInterface('eth0', 6, interfaces)).toBe('fd00::4')
  expect(ofInterface('eth1', 6, interfaces)).toBeUndefined()
  expect(() => ofInterface('eth9', 4, interfaces)).toThrow('no interface eth9')
})

test('the certificates file says whose address is followed', () => {
  const { addresses } = readWanted(`
issuers: {}
certificates: {}
addresses:
  Hub.example.com: { from: digitalocean }
  home.example.com: { from: interface, interface: eth0, families: [4], every: 30 }
  echo.example.com: { from: "https://echo.example/" }
`)
  expect(addresses).toMatchObject({
    'hub.example.com': { from: 'digitalocean', families: [4, 6], every: 10 },
    'home.example.com': { interface: 'eth0', families: [4], every: 30 },
  })
  expect(() =>
    readWanted('{issuers: {}, certificates: {}, addresses: {"a.test": {from: resolver, interface: eth0}}}'),
  ).toThrow('must be interface, digitalocean, or an http(s) URL')
})
