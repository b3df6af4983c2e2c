import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { damonError } from '@damon/protocol/errors'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { expect, test } from 'vitest'
import { homeAt } from '../src/home.ts'
import { createKeys, readKeys } from '../src/keys.ts'
import { connectionText, mintCredential } from '../src/minting.ts'
import { unreachable } from '../src/reach.ts'
import { damon } from './scripted-terminal.ts'

const now = Date.now()

/** What `damon status` says with a connection to these hubs. */
async function statusOf(urls: readonly string[], ca?: string) {
  await using folder = await temporaryFolder()
  const { keys } = homeAt(folder.path)
  await createKeys(keys, { aud: 'damon:test', dev: false })
  const wish = { sub: 'operator/one', can: ['get:service/*'], ttl: 60_000, urls, ca }
  const file = join(folder.path, 'operator.json')
  const credential = await mintCredential(await readKeys(keys, 'op-1'), wish, now)
  await writeFile(file, connectionText(credential), { mode: 0o600 })
  return damon(['status', '--connection', file])
}

async function listening(server: Server): Promise<{ url: string } & AsyncDisposable> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `wss://localhost:${port}/`,
    async [Symbol.asyncDispose]() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
}

async function authorityAndServer() {
  const authority = await createAuthority({ name: 'Test', now, days: 1 })
  const { chain, key } = await issueLeaf(authority, { names: ['localhost'], now, days: 1 })
  return { ca: authority.certificate, server: createHttpsServer({ cert: chain, key }) }
}

test('says that nobody listens, after each hub was tried once', async () => {
  const gone = createServer()
  const { url, ...place } = await listening(gone)
  await place[Symbol.asyncDispose]()
  const { code, out, err } = await statusOf([url, url.replace('localhost', '127.0.0.1')])
  expect({ code, out }).toEqual({ code: 69, out: '' })
  expect(err).toContain('Nobody listens at wss://127.0.0.1:')
  expect(err).toContain('[nobody_listens]')
})

test('says that the certificate is by another authority', async () => {
  const { server } = await authorityAndServer()
  await using place = await listening(server)
  const other = await createAuthority({ name: 'Other', now, days: 1 })
  expect(await statusOf([place.url], other.certificate)).toMatchObject({
    code: 77,
    err: expect.stringContaining('[untrusted_hub]'),
  })
})

test('says that what listens is no hub: without TLS, or without WebSocket', async () => {
  await using plain = await listening(createServer((socket) => socket.end('220 mail\r\n')))
  expect(await statusOf([plain.url])).toMatchObject({ code: 69, err: expect.stringContaining('[not_a_hub]') })
  const { ca, server } = await authorityAndServer()
  server.on('request', (_, response) => response.writeHead(404).end())
  server.on('upgrade', (_, socket) => socket.end('HTTP/1.1 404 Not Found\r\n\r\n'))
  await using web = await listening(server)
  expect(await statusOf([web.url], ca)).toMatchObject({ code: 69, err: expect.stringContaining('404') })
})

test('says that the host name cannot be resolved', () => {
  const cause = Object.assign(new Error('getaddrinfo'), { code: 'ENOTFOUND' })
  const error = unreachable('wss://hub.example:8443', damonError('disconnected', 'lost', { cause }))
  expect(error).toMatchObject({ code: 'unknown_host', message: expect.stringContaining('hub.example cannot') })
})
