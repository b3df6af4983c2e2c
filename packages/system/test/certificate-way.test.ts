import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { certificates } from '@damon/client/certificates-node'
import { connect } from '@damon/client/connect'
import type { Hub } from '@damon/client/hub'
import { servedFingerprint } from '@damon/client/served-certificate-node'
import { eventually } from '@damon/testkit/eventually'
import { FakeDigitalOcean } from '@damon/testkit/fake-digitalocean'
import { onFreePorts } from '@damon/testkit/free-port'
import { type Pebble, startPebble } from '@damon/testkit/pebble'
import { type RunningService, startService } from '@damon/testkit/process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildHouse, type House, serviceScript } from '../src/house.ts'

const certsRights = ['join:certs', 'issue:*', 'get:cert-reader/*', 'get:cert/*', 'put:cert/*']
const names = ['edge.example.com', '*.edge.example.com']
/** Publishing, propagation and validation take a few seconds. */
const issueMs = { deadlineMs: 40_000 }
const testMs = 120_000

let house: House
let hub: RunningService
let url: string
let pebble: Pebble
let api: FakeDigitalOcean
/** Whether what DigitalOcean is told becomes visible in DNS. */
let published = true
let configurations = 0

beforeAll(async () => {
  house = await buildHouse()
  hub = await house.startHub({ HUB_LEASE_GRACE_MS: '1000' })
  url = hub.ready.url!
  pebble = await startPebble()
  api = await FakeDigitalOcean.start({
    zones: ['example.com', 'edge.example.com'],
    dns: {
      addTxt: async (name, value) => (published ? pebble.dns.addTxt(name, value) : undefined),
      removeTxt: (name, value) => pebble.dns.removeTxt(name, value),
    },
  })
})

afterAll(async () => {
  await hub?.[Symbol.asyncDispose]()
  await api?.[Symbol.asyncDispose]()
  await pebble?.[Symbol.asyncDispose]()
  await house?.[Symbol.asyncDispose]()
})

/** Everything that stays when certs is started again: its store, its keys, its connection. */
async function certsHome(hubUrl = url) {
  const path = join(house.folder, `certs-${++configurations}`)
  const storeKey = randomBytes(32).toString('hex')
  await writeFile(`${path}-ca.pem`, pebble.ca)
  const connection = await house.connectionFile(hubUrl, `certs/${configurations}`, certsRights)
  const start = async (certificateNames = names): Promise<RunningService> => {
    const issuers = {
      pebble: { type: 'acme', directory: pebble.directoryUrl, termsAgreed: true, caFile: `${path}-ca.pem` },
      local: { type: 'local', days: 30 },
    }
    const list = {
      edge: { issuer: 'pebble', names: certificateNames },
      home: { issuer: 'local', names: ['home.test'] },
    }
    await writeFile(`${path}.yaml`, JSON.stringify({ issuers, certificates: list }))
    return startService(serviceScript('certs'), {
      CERTS_CONFIG_FILE: `${path}.yaml`,
      CERTS_STATE_DIR: path,
      CERT_STORE_KEY: storeKey,
      DAMON_CONNECTION_FILE: connection,
      DIGITALOCEAN_TOKEN: api.token,
      DIGITALOCEAN_URL: api.url,
      CERTS_NAMESERVERS: pebble.dns.address,
    })
  }
  const identity = JSON.parse(await readFile(connection, 'utf8')).identity.d as string
  return { start, path, storeKey, identity }
}

async function connectBot(name: string, can: string[]): Promise<Hub> {
  return connect(await house.credential(url, `bot/${name}`, can))
}

/** A running HTTPS server with a certificate of its own, as a bot may have one. */
async function httpsServer() {
  const key = await readFile(join(house.folder, 'hub-key.pem'), 'utf8')
  const cert = await readFile(join(house.folder, 'hub.pem'), 'utf8')
  const server = createServer({ key, cert, keepAliveTimeout: 60_000 }, (_, response) => response.end('hello'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    server,
    /** The fingerprint that a new connection is shown. */
    shown: () => servedFingerprint({ host: '127.0.0.1', port }, names[0]),
    /** A connection that stays open, and whether it still answers. */
    async open() {
      const socket: TLSSocket = connectTls({
        host: '127.0.0.1',
        port,
        rejectUnauthorized: false,
        servername: names[0]!,
      })
      await once(socket, 'secureConnect')
      return async () => {
        socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        const [text] = await once(socket, 'data')
        return String(text).startsWith('HTTP/1.1 200')
      }
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

interface Listed {
  id: string
  fingerprint?: string
  readers: { reader: string; delivered: boolean; served: boolean }[]
}

/** What certs answers an operator. */
async function listed(operator: Hub, id: string): Promise<Listed> {
  const [answer] = await operator.group('certs').request('certs.list', null)
  expect(answer?.verdict).toBe('answered')
  return (answer!.value as Listed[]).find((one) => one.id === id)!
}

describe('a certificate on its way to a running server', () => {
  it('is issued by ACME, delivered sealed, served to new connections, proven and replaced, and open connections live on', {
    timeout: testMs,
  }, async () => {
    const home = await certsHome()
    await using bot = await connectBot('https', ['cert:edge'])
    await using operator = await connect(
      await house.credential(url, 'operator/one', ['ask:group/certs:certs.list', 'get:cert/*']),
    )
    await using server = await httpsServer()
    const before = await server.shown()
    const answers = await server.open()
    await using reader = certificates(bot, 'edge', { names })
    reader.attach(server.server)
    let keys: string[] = []
    {
      await using certs = await home.start()
      const first = await reader.ready()
      expect(first.names.toSorted()).toEqual(names.toSorted())
      await eventually(async () => expect(await server.shown()).toBe(first.fingerprint), issueMs)
      expect(first.fingerprint).not.toBe(before)
      expect(await answers()).toBe(true)
      await eventually(async () => {
        const { fingerprint, readers } = await listed(operator, 'edge')
        expect(fingerprint).toBe(first.fingerprint)
        expect(readers).toEqual([
          {
            reader: expect.stringMatching(/^bot\/[0-9a-f]{16}$/),
            delivered: true,
            deliveredAt: expect.any(Number),
            served: true,
            late: false,
          },
        ])
      }, issueMs)
      keys = [first.key]
      certs.signal('SIGTERM')
      expect(await certs.exited).toMatchObject({ code: 0 })
      expect(secretsIn(certs.output, home, keys)).toEqual([])
    }
    const first = reader.current!
    await using certs = await home.start([...names, 'more.example.com'])
    await eventually(() => expect(reader.current!.version).toBeGreaterThan(first.version), issueMs)
    const second = reader.current!
    expect(second.names).toContain('more.example.com')
    await eventually(async () => expect(await server.shown()).toBe(second.fingerprint), issueMs)
    expect(await answers()).toBe(true)
    expect(api.records('edge.example.com')).toEqual([])
    expect(api.records('example.com')).toEqual([])
    // Neither the hub nor anybody who may read all records ever holds a key.
    keys.push(second.key)
    const records = (await operator.list('cert/')).map(({ bytes }) => Buffer.from(bytes).toString()).join()
    expect(records).toContain('jws')
    expect(secretsIn(records + hub.output + certs.output, home, keys)).toEqual([])
    for (const folder of (await readdir(house.folder)).filter(
      (name) => name.startsWith('hub-') && !name.includes('.'),
    )) {
      for (const file of await readdir(join(house.folder, folder), { recursive: true, withFileTypes: true })) {
        if (!file.isFile()) continue
        expect(secretsIn(await readFile(join(file.parentPath, file.name), 'latin1'), home, keys)).toEqual([])
      }
    }
    await reader[Symbol.asyncDispose]()
    await eventually(async () => expect(await operator.list('cert/')).toEqual([]), issueMs)
  })

  it('is issued by a certs that was killed in the middle, and the records of the first attempt are gone', {
    timeout: testMs,
  }, async () => {
    const home = await certsHome()
    await using bot = await connectBot('killed', ['cert:edge'])
    await using reader = certificates(bot, 'edge')
    published = false
    const first = await home.start()
    await eventually(() => expect(api.records('edge.example.com')).toHaveLength(2), issueMs)
    first.signal('SIGKILL')
    await first.exited
    expect(api.records('edge.example.com')).toHaveLength(2)
    published = true
    await using _second = await home.start()
    const { names: issued } = await reader.ready(AbortSignal.timeout(issueMs.deadlineMs))
    expect(issued.toSorted()).toEqual(names.toSorted())
    await eventually(() => expect(api.records('edge.example.com')).toEqual([]), issueMs)
  })

  it('takes the same way from the local issuer, to a server and to files whose service is reloaded', {
    timeout: testMs,
  }, async () => {
    const home = await certsHome()
    await using _certs = await home.start()
    await using bot = await connectBot('local', ['cert:home'])
    await using reader = certificates(bot, 'home', { names: ['home.test'] })
    const { fingerprint, chain } = await reader.ready(AbortSignal.timeout(issueMs.deadlineMs))
    expect(chain).toContain(await readFile(join(home.path, 'local-authority-local.pem'), 'utf8'))
    const files = join(house.folder, 'agent')
    const reloaded = join(house.folder, 'reloaded')
    const script = `require('fs').appendFileSync(${JSON.stringify(reloaded)}, process.env.CERTIFICATE + ' ')`
    await using server = await httpsServer()
    const { port } = server.server.address() as AddressInfo
    await using agent = await startService(serviceScript('cert-agent'), {
      DAMON_CONNECTION_FILE: await house.connectionFile(url, 'web/one', ['cert:home']),
      CERTIFICATES: 'home',
      CERT_DIR: files,
      RELOAD_COMMAND: JSON.stringify([process.execPath, '-e', script]),
      SERVED_AT: `127.0.0.1:${port}`,
    })
    await eventually(async () => expect(await readFile(reloaded, 'utf8')).toBe('home '), issueMs)
    const combined = await readFile(join(files, 'home/current/combined.pem'), 'utf8')
    expect(combined).toContain('PRIVATE KEY')
    server.server.setSecureContext({ key: combined, cert: combined })
    expect(await server.shown()).toBe(fingerprint)
    await agent.says('"served"')
    await using operator = await connect(await house.credential(url, 'operator/two', ['ask:group/certs:certs.list']))
    await eventually(async () => {
      const { readers } = await listed(operator, 'home')
      expect(readers.find(({ reader }) => reader.startsWith('web/'))).toMatchObject({ delivered: true, served: true })
    }, issueMs)
  })

  it('is delivered anew by itself when the hub comes back without its records', { timeout: testMs }, async () => {
    await onFreePorts(1, async ([port]) => {
      const other = `wss://localhost:${port}`
      const home = await certsHome(other)
      const first = await house.startHub({ HUB_PORT: String(port) })
      await using _certs = await home.start()
      await using bot = await connect(await house.credential(other, 'bot/patient', ['cert:home']))
      await using reader = certificates(bot, 'home')
      const before = await reader.ready(AbortSignal.timeout(issueMs.deadlineMs))
      first.signal('SIGKILL')
      await first.exited
      await using _second = await house.startHub({ HUB_PORT: String(port) })
      await eventually(() => expect(reader.current!.version).toBeGreaterThan(before.version), issueMs)
      expect(reader.current!.fingerprint).toBe(before.fingerprint)
    })
  })

  it('does not reach a reader whose token does not allow it', { timeout: testMs }, async () => {
    const home = await certsHome()
    await using certs = await home.start()
    await using bot = await connectBot('greedy', ['cert:home'])
    await using greedy = certificates(bot, 'edge')
    await using modest = certificates(bot, 'home')
    await modest.ready(AbortSignal.timeout(issueMs.deadlineMs))
    await certs.says('"denied":["edge"]')
    expect(greedy.current).toBeUndefined()
    expect(await bot.list('cert/bot/').then((list) => list.map(({ key }) => key.split('/').at(-1)))).not.toContain(
      'edge',
    )
    await using stranger = await connectBot('stranger', ['join:bots'])
    stranger.on('error', () => {})
    const refused = certificates(stranger, 'home')
    refused.on('refused', () => {})
    await expect(refused.ready()).rejects.toMatchObject({ code: 'denied' })
  })
})

/** Which of the secrets that certs has or makes occur in a text; its token is none in the envelopes it signs. */
function secretsIn(
  text: string,
  { storeKey, identity }: { storeKey: string; identity: string },
  keys: readonly string[],
) {
  const bodies = keys.map((key) => key.split('\n')[1] ?? key)
  return [api.token, storeKey, identity, ...bodies].filter((secret) => text.includes(secret))
}
