import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { connect as connectTcp, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { connect } from '@damon/client/connect'
import { startDaemon } from '@damon/testkit/daemon'
import { eventually } from '@damon/testkit/eventually'
import { onFreePorts } from '@damon/testkit/free-port'
import type { RunningService } from '@damon/testkit/process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildHouse, type House } from '../src/house.ts'

const settings = fileURLToPath(new URL('../../../docs/haproxy.cfg', import.meta.url))
const burst = 8

let house: House
beforeAll(async () => {
  house = await buildHouse()
})
afterAll(async () => {
  await house?.[Symbol.asyncDispose]()
})

const upgrade =
  'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: damon.v1\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'

/** The answer to an upgrade up to the end of its head, or '' when the hub hangs up without one. */
async function answer(socket: Socket): Promise<string> {
  let text = ''
  socket.on('error', () => undefined)
  socket.setEncoding('latin1').on('data', (chunk) => {
    text += chunk
    if (text.includes('\r\n\r\n')) socket.destroy()
  })
  await new Promise((resolve) => socket.once('close', resolve))
  return text.slice(0, text.indexOf('\r\n\r\n') + 1)
}

/** Says this in front of an upgrade. */
function plainly(port: number, ...before: (string | Buffer)[]): Promise<string> {
  const socket = connectTcp(port, '127.0.0.1')
  for (const piece of before) socket.write(piece)
  socket.write(upgrade)
  return answer(socket)
}

/** The same in front of a TLS handshake. */
async function securely(port: number, before: string): Promise<string> {
  const socket = connectTcp(port, '127.0.0.1')
  await once(socket, 'connect')
  if (before) socket.write(before)
  const secure = connectTls({ socket, ca: house.tls.ca, servername: 'localhost' })
  secure.once('secureConnect', () => secure.write(upgrade))
  return answer(secure)
}

const header = (address: string) => `PROXY TCP4 ${address} 127.0.0.1 40000 443\r\n`
const portOf = (url = '') => Number(new URL(url).port)

describe('a hub behind HAProxy with the settings of docs/haproxy.cfg', () => {
  const path = () => join(house.folder, 'hub.sock')

  function startHub(): Promise<RunningService> {
    return house.startHub({
      HUB_PLAIN_SOCKET: path(),
      HUB_PROXIES: 'unix',
      HUB_DIAL_BURST: String(burst),
      HUB_DIALS_PER_SECOND: '1',
      HUB_WORKERS: '1',
    })
  }

  it('sees its clients and not HAProxy, in its log and in its limits', async () => {
    const { certFile, keyFile, ca } = house.tls
    const CERTIFICATE = join(house.folder, 'combined.pem')
    await writeFile(CERTIFICATE, (await readFile(certFile, 'utf8')) + (await readFile(keyFile, 'utf8')))
    await using hub = await startHub()
    const [haproxy, port] = await onFreePorts(1, async ([port = 0]) => {
      const isReady = async () => {
        const socket = connectTcp(port, '127.0.0.1')
        await once(socket, 'connect')
        socket.destroy()
        return true
      }
      const env = { BIND: `127.0.0.1:${port}`, CERTIFICATE, HUB: path() }
      return [await startDaemon({ command: 'haproxy', args: ['-db', '-f', settings], env, isReady }), port] as const
    })
    await using _ = haproxy
    {
      const url = `wss://localhost:${port}`
      await using client = await connect(await house.credential(url, 'bot/a', ['join:g', 'send:group/g']))
      const heard = Promise.withResolvers<unknown>()
      client.receive('x', heard.resolve)
      await client.join('g')
      await client.group('g').send('x', { large: 'x'.repeat(100_000) })
      expect(await heard.promise).toMatchObject({ large: expect.any(String) })
      await eventually(async () => expect(hub.output).toMatch(/"sub":"bot\/a".*"address":"(127\.0\.0\.1|::1)"/))
    }
    const from = (localAddress: string) => {
      const line = connectTcp({ port, host: '127.0.0.1', localAddress })
      const socket = connectTls({ socket: line, ca, servername: 'localhost' })
      socket.once('secureConnect', () => socket.write(upgrade))
      return answer(socket)
    }
    const many = await Promise.all(Array.from({ length: 3 * burst }, () => from('127.0.0.2')))
    expect(many.filter((text) => text.startsWith('HTTP/1.1 101')).length).toBeGreaterThanOrEqual(burst)
    expect(many.some((text) => /^HTTP\/1.1 429 [\s\S]*retry-after: \d+\r\n/.test(text))).toBe(true)
    expect(await from('127.0.0.3')).toMatch(/^HTTP\/1.1 101/)
    const metrics = await (await fetch(`${hub.ready.metrics}/metrics`)).text()
    expect(metrics).toMatch(/damon_hub_turned_away_total\{.*reason="address".*\} [1-9]/)
  })

  it('finds its Unix socket again after it was killed, and takes it from nobody', async () => {
    const first = await startHub()
    await using program = await house.hubProgram({ HUB_PLAIN_SOCKET: path() })
    expect((await program.exited).code).toBe(1)
    expect(program.output).toContain('Another process listens on')
    first.signal('SIGKILL')
    await first.exited
    await using second = await startHub()
    expect(second.ready.plainSocket).toBe(path())
    const socket = connectTcp(path())
    socket.write(header('203.0.113.7') + upgrade)
    expect(await answer(socket)).toMatch(/^HTTP\/1.1 101/)
  })
})

describe('a PROXY header', () => {
  let hub: RunningService
  let other: RunningService
  beforeAll(async () => {
    const limits = { HUB_DIAL_BURST: String(burst), HUB_DIALS_PER_SECOND: '1', HUB_WORKERS: '1', HUB_PLAIN_PORT: '0' }
    hub = await house.startHub({ ...limits, HUB_PROXIES: '127.0.0.1' })
    other = await house.startHub({ ...limits, HUB_PROXIES: '10.0.0.0/8,unix' })
  })
  afterAll(async () => {
    await Promise.all([hub, other].map((one) => one?.[Symbol.asyncDispose]()))
  })

  it('of either version is read in front of what is plain, in whatever pieces it comes', async () => {
    const port = portOf(hub.ready.plain)
    const v2 = Buffer.from('0d0a0d0a000d0a515549540a2111000ccb00711007f0000019c4001bb'.slice(0, 56), 'hex')
    expect(await plainly(port, ...header('198.51.100.1').split(''))).toMatch(/^HTTP\/1.1 101/)
    expect(await plainly(port, v2.subarray(0, 5), v2.subarray(5))).toMatch(/^HTTP\/1.1 101/)
    expect(await plainly(port, 'PROXY UNKNOWN\r\n')).toMatch(/^HTTP\/1.1 101/)
  })

  it('is read in front of a TLS handshake', async () => {
    expect(await securely(portOf(hub.ready.url), header('198.51.100.2'))).toMatch(/^HTTP\/1.1 101/)
  })

  it('is not missing where it has to be', async () => {
    expect(await plainly(portOf(hub.ready.plain))).toBe('')
    expect(await plainly(portOf(hub.ready.plain), 'PROXY TCP4 nonsense\r\n')).toBe('')
    expect(await securely(portOf(hub.ready.url), '')).toBe('')
  })

  it('is believed of nobody else', async () => {
    expect(await plainly(portOf(other.ready.plain), header('203.0.113.7'))).toMatch(/^HTTP\/1.1 400/)
    expect(await plainly(portOf(other.ready.plain))).toMatch(/^HTTP\/1.1 101/)
    expect(await securely(portOf(other.ready.url), header('203.0.113.7'))).toBe('')
  })

  it('makes each address, and each /64, count for itself', async () => {
    const ask = (family: string, address: string) =>
      plainly(portOf(hub.ready.plain), `PROXY ${family} ${address} ${family === 'TCP4' ? '127.0.0.1' : '::1'} 1 2\r\n`)
    const statuses = async (family: string, addresses: string[]) => {
      const answers = await Promise.all(addresses.map((address) => ask(family, address)))
      return answers.map((text) => text.slice(9, 12)).sort()
    }
    const half = Array.from({ length: burst }, (_, index) => index)
    const neighbours = half.flatMap((index) => [`2001:db8:0:1::${index}`, `2001:db8:0:1::a${index}`])
    const same = await statuses('TCP6', neighbours)
    expect([same.slice(0, burst), same.at(-1)]).toEqual([half.map(() => '101'), '429'])
    expect(
      await statuses(
        'TCP6',
        half.map((index) => `2001:db8:0:${index + 2}::1`),
      ),
    ).toEqual(half.map(() => '101'))
    expect(
      await statuses(
        'TCP4',
        half.map((index) => `203.0.113.${index}`),
      ),
    ).toEqual(half.map(() => '101'))
  })

  it('makes an address that had too many wait before its TLS handshake', async () => {
    const port = portOf(hub.ready.url)
    const answers = await Promise.all(Array.from({ length: 2 * burst }, () => securely(port, header('192.0.2.1'))))
    expect(answers.filter((text) => text.startsWith('HTTP/1.1 101')).length).toBeGreaterThanOrEqual(burst)
    expect(answers).toContain('')
  })
})
