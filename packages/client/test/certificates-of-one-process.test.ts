import { once } from 'node:events'
import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { createSecureServer } from 'node:http2'
import { createServer as createHttpsServer, request, type ServerOptions } from 'node:https'
import type { AddressInfo, LookupFunction, Server } from 'node:net'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import type { DamonError } from '@damon/protocol/errors'
import { certReader } from '@damon/protocol/records'
import { eventually } from '@damon/testkit/eventually'
import { FakeRecords } from '@damon/testkit/fake-records'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { aud, type TrustedIssuer, trustedIssuer } from '@damon/testkit/trusted-issuer'
import type { Credential } from '@damon/trust/credential'
import { sealCertificate } from '@damon/trust/envelope'
import { type Authority, createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { verifyReader, verifyReceipt } from '@damon/trust/reader'
import { fastify } from 'fastify'
import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { type CertificateOptions, certificates } from '../src/certificates-node.ts'
import { servedFingerprint } from '../src/served-certificate-node.ts'
import { byServerName } from '../src/server-names-node.ts'

const can = ['cert:edge', 'cert:other']

let authority: Authority
let issuer: TrustedIssuer

beforeAll(async () => {
  authority = await createAuthority({ name: 'test', now: Date.now(), days: 100 })
  issuer = await trustedIssuer()
})

const leaf = (names: string[], days = 30, now = Date.now()) => issueLeaf(authority, { names, now, days })

/** A process with one connection, and certs as it is seen from there. */
async function connected(credential?: Credential) {
  const records = new FakeRecords()
  const own = credential ?? (await issuer.credential('bot/one', can))
  const certs = await issuer.credential('certs/one', ['issue:*'])
  const hub = { credential: own, subject: 'bot/one', announce: records.announce, watch: records.watch }
  const refused: DamonError[] = []
  const keys = () => [...records.entries.keys()].filter((key) => key.startsWith('cert-reader/'))
  const state = async () => {
    const key = await eventually(() => {
      expect(keys()).toHaveLength(1)
      return keys()[0]!
    })
    const record = certReader.parse(records.entries.get(key)!.value)
    return { record, reader: await verifyReader(record, key, { trust: issuer.trust, aud, now: Date.now() }) }
  }
  let version = 0
  return {
    records,
    refused,
    keys,
    state,
    credential: own,
    read(id: string, options: CertificateOptions = {}) {
      const reader = certificates(hub, id, options)
      reader.on('refused', (error) => refused.push(error))
      onTestFinished(() => reader[Symbol.asyncDispose]())
      return reader
    },
    async deliver(id: string, pair: { key: string; chain: string }) {
      const { reader } = await state()
      const jws = await sealCertificate(pair, { ...certs, reader, id, version: ++version })
      records.forge(`cert/${reader.name}/${id}`, { value: { jws }, leased: false })
    },
    serving: async () => {
      const { record, reader } = await state()
      return record.receipts === undefined ? {} : verifyReceipt(record.receipts, reader)
    },
  }
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await eventually(() => expect(server.listening).toBe(true))
  onTestFinished(() => void server.close())
  return (server.address() as AddressInfo).port
}

test('all certificates of a connection are sealed to one key, and their receipts stand in one record', async () => {
  const bot = await connected()
  const edge = bot.read('edge')
  const other = bot.read('other')
  await eventually(async () => expect((await bot.state()).reader.wants.toSorted()).toEqual(['edge', 'other']))
  await bot.deliver('edge', await leaf(['edge.test']))
  await bot.deliver('other', await leaf(['other.test']))
  const [one, two] = [await edge.ready(), await other.ready()]
  const { key, chain } = await leaf(['first.test'])
  for (const reader of [edge, other]) {
    const server = createHttpsServer({ key, cert: chain })
    await listen(server)
    reader.attach(server)
  }
  await eventually(async () =>
    expect(await bot.serving()).toEqual({
      edge: { fingerprint: one.fingerprint, version: 1 },
      other: { fingerprint: two.fingerprint, version: 2 },
    }),
  )
  await other[Symbol.asyncDispose]()
  expect((await bot.state()).reader.wants).toEqual(['edge'])
  expect(Object.keys(await bot.serving())).toEqual(['edge'])
  await edge[Symbol.asyncDispose]()
  expect(bot.keys()).toEqual([])
})

test('a certificate that is wanted later, and one that is wanted twice, come all the same', async () => {
  const bot = await connected()
  const edge = bot.read('edge')
  await bot.deliver('edge', await leaf(['edge.test']))
  const { fingerprint } = await edge.ready()
  const again = bot.read('edge')
  expect((await again.ready()).fingerprint).toBe(fingerprint)
  const other = bot.read('other')
  await eventually(async () => expect((await bot.state()).reader.wants).toEqual(['edge', 'other']))
  await bot.deliver('other', await leaf(['other.test']))
  expect((await other.ready()).names).toEqual(['other.test'])
  await again[Symbol.asyncDispose]()
  expect((await bot.state()).reader.wants).toEqual(['edge', 'other'])
})

test('a reader with a cache starts while nobody delivers, and the first delivery takes over', async () => {
  await using folder = await temporaryFolder()
  const cacheDir = join(folder.path, 'cache')
  const before = await connected()
  const first = before.read('edge', { cacheDir })
  await before.deliver('edge', await leaf(['edge.test']))
  const { fingerprint, key } = await first.ready()
  await first[Symbol.asyncDispose]()
  const path = join(cacheDir, 'edge.sealed')
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect((await stat(cacheDir)).mode & 0o777).toBe(0o700)
  expect(await readdir(cacheDir)).toEqual(['edge.sealed'])
  const secret = key.split('\n')[1]!
  expect(await readFile(path, 'latin1')).not.toContain(secret)

  const after = await connected(before.credential)
  const second = after.read('edge', { cacheDir, names: ['edge.test'] })
  expect(await second.ready()).toMatchObject({ fingerprint, key })
  const server = createHttpsServer()
  const port = await listen(server)
  second.attach(server)
  expect(await servedFingerprint({ host: '127.0.0.1', port }, 'edge.test')).toBe(fingerprint)
  await eventually(async () => expect(await after.serving()).toMatchObject({ edge: { fingerprint } }))
  const next = await leaf(['edge.test'])
  // A delivery of this life counts from the beginning, whatever number the kept one had.
  await after.deliver('edge', next)
  await eventually(() => expect(second.current?.key).toBe(next.key))
  expect(after.refused).toEqual([])
  await second[Symbol.asyncDispose]()
})

test('what lies in the cache is used only if it is for nobody else, of this identity, whole, valid and for the names', async () => {
  await using folder = await temporaryFolder()
  const cacheDir = folder.path
  const path = join(cacheDir, 'edge.sealed')
  const before = await connected()
  const first = before.read('edge', { cacheDir })
  await before.deliver('edge', await leaf(['edge.test']))
  await first.ready()
  await first[Symbol.asyncDispose]()
  const good = await readFile(path)
  const attempt = async (names: string[], credential = before.credential) => {
    const bot = await connected(credential)
    const reader = bot.read('edge', { cacheDir, names })
    const { message, code } = await eventually(() => {
      expect(bot.refused).toHaveLength(1)
      return bot.refused[0]!
    })
    expect(code).toBe('bad_envelope')
    expect(reader.current).toBeUndefined()
    const pair = await leaf(['edge.test', 'more.test'])
    await bot.deliver('edge', pair)
    expect((await reader.ready()).key).toBe(pair.key)
    await reader[Symbol.asyncDispose]()
    await writeFile(path, good)
    return message
  }
  expect(await attempt(['more.test'])).toContain('not for more.test')
  expect(await attempt([], await issuer.credential('bot/two', can))).toContain('does not open')
  await chmod(path, 0o640)
  expect(await attempt([])).toContain('Others than its owner')
  await chmod(path, 0o600)
  await writeFile(path, good.subarray(0, -1))
  expect(await attempt([])).toContain('does not open')
})

test('servers of tls, http2 and ws show each new certificate, and their other options stay', async () => {
  const bot = await connected()
  const edge = bot.read('edge')
  const { key, chain } = await leaf(['first.test'])
  const options = { key, cert: chain, minVersion: 'TLSv1.3' } as const
  const https = createHttpsServer(options)
  const sockets = new WebSocketServer({ server: https })
  sockets.on('connection', (socket) => socket.send('hello'))
  onTestFinished(() => void sockets.close())
  const servers = [createTlsServer(options, (socket) => socket.end()), createSecureServer(options), https]
  const ports = await Promise.all(servers.map(listen))
  for (const server of servers) edge.attach(server, { minVersion: 'TLSv1.3' })
  for (const _ of [1, 2]) {
    await bot.deliver('edge', await leaf(['edge.test']))
    await eventually(async () => {
      const { fingerprint } = edge.current!
      for (const port of ports) {
        expect(await servedFingerprint({ host: '127.0.0.1', port }, 'edge.test')).toBe(fingerprint)
      }
      expect(await bot.serving()).toMatchObject({ edge: { fingerprint } })
    })
  }
  const lookup: LookupFunction = (_, __, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }])
  const socket = new WebSocket(`wss://edge.test:${ports[2]}`, { ca: authority.certificate, lookup })
  onTestFinished(() => socket.terminate())
  const text = await new Promise((resolve, reject) => {
    socket.once('message', (data) => resolve(String(data)))
    socket.once('error', reject)
  })
  expect(text).toBe('hello')
})

const apps = {
  'HTTP/1': (https: ServerOptions) => fastify({ https }).get('/hello', async () => ({ hello: 'world' })),
  'HTTP/2': (https: ServerOptions) =>
    fastify({ http2: true, https: { ...https, allowHTTP1: true } }).get('/hello', async () => ({ hello: 'world' })),
}

test.each(['HTTP/1', 'HTTP/2'] as const)('a fastify app of %s answers under each new certificate', async (version) => {
  const bot = await connected()
  const edge = bot.read('edge')
  const { key, chain } = await leaf(['first.test'])
  const app = apps[version]({ key, cert: chain })
  onTestFinished(() => app.close())
  // Before the certificate and before the app listens: the order in which most programs do it.
  edge.attach(app.server)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const get = async () => {
    const options = { host: '127.0.0.1', port, path: '/hello', servername: 'edge.test', ca: authority.certificate }
    const [response] = await once(request({ ...options, agent: false }).end(), 'response')
    const { fingerprint256 } = response.socket.getPeerX509Certificate()
    const body = String(Buffer.concat(await response.toArray()))
    return { body, fingerprint: fingerprint256.replaceAll(':', '').toLowerCase() }
  }
  for (const _ of [1, 2]) {
    const before = edge.current?.fingerprint
    await bot.deliver('edge', await leaf(['edge.test']))
    await eventually(() => expect(edge.current?.fingerprint).not.toBe(before))
    const { fingerprint } = edge.current!
    expect(await get()).toEqual({ body: '{"hello":"world"}', fingerprint })
    await eventually(async () => expect(await bot.serving()).toMatchObject({ edge: { fingerprint } }))
  }
})

test('a server with several certificates shows the one whose names the client asks for, always the newest', async () => {
  const bot = await connected()
  const [edge, other] = [bot.read('edge'), bot.read('other')]
  const { key, chain } = await leaf(['first.test'])
  const server = createTlsServer({ key, cert: chain, SNICallback: byServerName([edge, other]) })
  const port = await listen(server)
  const shown = (name: string) => servedFingerprint({ host: '127.0.0.1', port }, name)
  const own = await shown('edge.test')
  await eventually(async () => expect((await bot.state()).reader.wants).toHaveLength(2))
  await bot.deliver('edge', await leaf(['edge.test']))
  await bot.deliver('other', await leaf(['*.other.test']))
  const [one, two] = [await edge.ready(), await other.ready()]
  expect(edge.secureContext).toBeDefined()
  expect(await shown('edge.test')).toBe(one.fingerprint)
  expect(await shown('A.other.test')).toBe(two.fingerprint)
  expect(await shown('a.b.other.test')).toBe(own)
  const before = one.fingerprint
  await bot.deliver('edge', await leaf(['edge.test']))
  await eventually(() => expect(edge.current!.fingerprint).not.toBe(before))
  expect(await shown('edge.test')).toBe(edge.current!.fingerprint)
  await edge.prove({ host: '127.0.0.1', port })
  expect(await bot.serving()).toMatchObject({ edge: { fingerprint: edge.current!.fingerprint } })
})
