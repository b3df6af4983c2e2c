import { Resolver } from 'node:dns/promises'
import { startDnsServer } from '@damon/testkit/dns-server'
import { FakeDigitalOcean } from '@damon/testkit/fake-digitalocean'
import { startPebble } from '@damon/testkit/pebble'
import { expect, test } from 'vitest'

test('pebble starts on free ports, several at a time, each with a root of its own', async () => {
  await using first = await startPebble()
  await using second = await startPebble()
  expect(first.directoryUrl).not.toBe(second.directoryUrl)
  expect(first.root).toContain('BEGIN CERTIFICATE')
  expect(first.root).not.toBe(second.root)
})

test('the DNS server publishes several values under one name and takes them back one by one', async () => {
  await using dns = await startDnsServer()
  const resolver = new Resolver()
  resolver.setServers([dns.address])
  await dns.addTxt('_acme-challenge.example.com', 'one')
  await dns.addTxt('_acme-challenge.example.com', 'two')
  expect((await resolver.resolveTxt('_acme-challenge.example.com')).flat().sort()).toEqual(['one', 'two'])
  await dns.removeTxt('_acme-challenge.example.com', 'one')
  expect((await resolver.resolveTxt('_acme-challenge.example.com')).flat()).toEqual(['two'])
})

test('the fake DigitalOcean pages by 20, filters by the full name and refuses a wrong token', async () => {
  await using api = await FakeDigitalOcean.start({ zones: ['example.com'] })
  for (let n = 0; n < 25; n++) await api.seed('example.com', { type: 'TXT', name: `n${n}`, data: `${n}` })
  const get = async (path: string, token = api.token) => {
    const response = await fetch(`${api.url}${path}`, { headers: { authorization: `Bearer ${token}` } })
    return { status: response.status, body: await response.json(), headers: response.headers }
  }
  const page = await get('/domains/example.com/records')
  expect(page.body.domain_records).toHaveLength(20)
  expect(page.body.meta.total).toBe(25)
  expect(page.body.links.pages.next).toContain('page=2')
  expect(page.headers.get('ratelimit-limit')).toBe('5000')
  const filtered = await get('/domains/example.com/records?type=TXT&name=n7.example.com')
  expect(filtered.body.domain_records).toMatchObject([{ name: 'n7', data: '7' }])
  expect((await get('/domains/example.com/records?per_page=201')).status).toBe(422)
  expect(await get('/domains', 'wrong')).toMatchObject({ status: 401, body: { id: 'Unauthorized' } })
})
