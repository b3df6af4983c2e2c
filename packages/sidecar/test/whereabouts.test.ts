import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { addressesOf } from '../src/address.ts'
import { mayProbe } from '../src/evidence/reachability.ts'
import { digitalOceanWhereabouts, hubWhereabouts } from '../src/whereabouts.ts'

const never = new AbortController().signal

/** DigitalOcean's metadata service, with this body. */
async function metadataService(body: string, status = 200) {
  const server = createServer((request, response) => {
    response.writeHead(request.url === '/metadata/v1.json' ? status : 404).end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const droplet = {
  droplet_id: 1,
  interfaces: {
    public: [
      {
        ipv4: { ip_address: '104.131.20.105', netmask: '255.255.192.0', gateway: '104.131.0.1' },
        ipv6: { ip_address: '2604:A880:0800:0010:0000:0000:017D:2001', cidr: 64, gateway: '2604:A880:0800:0010::1' },
        type: 'public',
      },
    ],
    private: [{ ipv4: { ip_address: '10.132.255.113' }, type: 'private' }],
  },
}

test('a droplet is announced with the addresses that its metadata service tells, IPv4 first', async () => {
  await using service = await metadataService(JSON.stringify(droplet))
  const whereabouts = digitalOceanWhereabouts(service.url)
  expect(whereabouts.hosts()).toBeUndefined()
  await whereabouts.refresh(never)
  const node = { url: new URL('http://127.0.0.1:6978'), secure: true }
  expect(addressesOf(node, whereabouts.hosts())).toEqual({
    address: { host: '104.131.20.105', port: 6978, secure: true },
    otherAddresses: [{ host: '2604:a880:800:10::17d:2001', port: 6978, secure: true }],
  })
})

test.each([
  ['not found', 404],
  ['{"interfaces":{"public":[]}}', 200],
  ['{"interfaces":{"public":[{"ipv4":{"ip_address":"evil.example"}}]}}', 200],
  ['x'.repeat(70_000), 200],
])('a metadata service that answers %.40s leaves the address unknown', async (body, status) => {
  await using service = await metadataService(body, status)
  const whereabouts = digitalOceanWhereabouts(service.url)
  await expect(whereabouts.refresh(never)).rejects.toThrow()
  expect(whereabouts.hosts()).toBeUndefined()
  expect(addressesOf({ url: new URL('http://127.0.0.1:6978') }, whereabouts.hosts())).toBeUndefined()
})

test('the hub tells from which address it sees this session', async () => {
  const value = { version: '', groups: [], since: 1, worker: 1, address: '::ffff:198.51.100.7' }
  const hub = {
    subject: 'sidecar/fra1',
    session: '00000000000000aa',
    async get(key: string) {
      if (key !== 'service/sidecar/fra1/00000000000000aa') return undefined
      return { key, value, bytes: new Uint8Array(), revision: 1, generation: 1, state: 'live' as const, leased: true }
    },
  }
  const whereabouts = hubWhereabouts(hub)
  await whereabouts.refresh(never)
  expect(whereabouts.hosts()).toEqual(['198.51.100.7'])
  await expect(hubWhereabouts({ ...hub, session: '00000000000000bb' }).refresh(never)).rejects.toThrow()
})

test.each([
  ['a configured name', 'audio.example', true, undefined, true],
  ['a name that was only found', 'audio.example', false, undefined, false],
  ['a configured address', '8.8.8.8', true, undefined, true],
  ['the address that the hub sees', '8.8.8.8', false, '8.8.8.8', true],
  ['another than the hub sees', '8.8.4.4', false, '8.8.8.8', false],
  ['one of a private network, even a configured one', '10.0.0.1', true, '10.0.0.1', false],
  ['loopback', '127.0.0.1', true, '127.0.0.1', false],
])('whether somebody is asked to reach %s: %s', (_, host, configured, seen, expected) => {
  expect(mayProbe(host, { configured, seen })).toBe(expected)
})
