import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RequestHandler } from '../src/handlers.ts'
import { answerProbes, type ProberOptions } from '../src/prober-node.ts'
import { canonical, isGlobalUnicast } from '../src/unicast-node.ts'

let server: Server
let port: number
const paths: string[] = []

beforeAll(async () => {
  server = createServer((request, response) => {
    paths.push(`${request.url} ${request.headers.authorization}`)
    response.writeHead(401).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  port = (server.address() as AddressInfo).port
})
afterAll(() => server.close())

/** What a prober answers to a sidecar that the hub sees at `seen`. */
async function probe(host: string, seen: string, options: ProberOptions, at = port): Promise<unknown> {
  let handler: RequestHandler | undefined
  answerProbes(
    {
      handle(event, answer) {
        expect(event).toBe('node.probe')
        handler = answer
        return { [Symbol.dispose]: () => {} }
      },
      async get(key) {
        expect(key).toBe('service/sidecar/fra1/00000000000000aa')
        const value = { version: '', groups: [], since: 1, worker: 1, address: seen }
        return { key, value, bytes: new Uint8Array(), revision: 1, generation: 1, state: 'live', leased: true }
      },
    },
    options,
  )
  const context = {
    from: 'sidecar/fra1',
    session: '00000000000000aa',
    signal: new AbortController().signal,
    part: async () => {},
  }
  return handler?.({ node: 'fra1', address: { host, port: at, secure: false } }, context as never)
}

const anywhere = { isAllowed: () => true }

describe('a prober', () => {
  it('reaches the address that the hub sees, without a password', async () => {
    expect(await probe('127.0.0.1', '127.0.0.1', anywhere)).toEqual({ reached: true })
    expect(paths).toEqual(['/version undefined'])
  })

  it('goes nowhere else, whatever a sidecar claims', async () => {
    const before = paths.length
    const foreign = { reached: false, reason: 'it is not the address that the hub sees' }
    expect(await probe('127.0.0.1', '192.0.2.1', anywhere)).toEqual(foreign)
    const inside = { reached: false, reason: 'it is no address on the internet' }
    expect(await probe('127.0.0.1', '127.0.0.1', {})).toEqual(inside)
    expect(await probe('localhost', '127.0.0.1', { hosts: ['localhost'] })).toEqual(inside)
    expect(paths.length).toBe(before)
  })

  it('goes to a host that its operator named', async () => {
    expect(await probe('127.0.0.1', '192.0.2.1', { ...anywhere, hosts: ['127.0.0.1'] })).toEqual({ reached: true })
  })

  it('says why it did not get through', async () => {
    const closed = createServer()
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve))
    const { port: free } = closed.address() as AddressInfo
    await new Promise((resolve) => closed.close(resolve))
    expect(await probe('127.0.0.1', '127.0.0.1', anywhere, free)).toEqual({
      reached: false,
      reason: 'refuses connections',
    })
    expect(await probe('does-not-exist.invalid', '127.0.0.1', anywhere)).toEqual({
      reached: false,
      reason: 'its name does not resolve',
    })
  })
})

it.each([
  ['8.8.8.8', true],
  ['2a03:b0c0::1', true],
  ['10.1.2.3', false],
  ['100.64.0.1', false],
  ['127.0.0.1', false],
  ['169.254.169.254', false],
  ['172.20.0.1', false],
  ['192.168.1.1', false],
  ['203.0.113.7', false],
  ['224.0.0.1', false],
  ['255.255.255.255', false],
  ['::1', false],
  ['::ffff:8.8.8.8', false],
  ['fe80::1', false],
  ['fd00::1', false],
  ['2001:db8::1', false],
  ['64:ff9b::808:808', false],
  ['audio.example', false],
])('%s is an address on the internet: %s', (host, expected) => {
  expect(isGlobalUnicast(host)).toBe(expected)
})

it('an address has one text', () => {
  expect(canonical('::ffff:192.0.2.1')).toBe('192.0.2.1')
  expect(canonical('[2001:DB8:0:0::1]')).toBe('2001:db8::1')
  expect(canonical('Audio.Example')).toBe('audio.example')
})
