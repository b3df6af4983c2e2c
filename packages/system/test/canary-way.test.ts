import { randomBytes, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import { join } from 'node:path'
import { certificates } from '@damon/client/certificates-node'
import { connect } from '@damon/client/connect'
import { servedFingerprint } from '@damon/client/served-certificate-node'
import { eventually } from '@damon/testkit/eventually'
import { type RunningService, startService } from '@damon/testkit/process'
import { expect, it } from 'vitest'
import { buildHouse, type House, serviceScript } from '../src/house.ts'

const certsRights = ['join:certs', 'issue:*', 'get:cert-reader/*', 'get:cert/*', 'put:cert/*']

/** A web server that takes its files anew at SIGHUP, and does not care while there is a file `broken`. */
const frontScript = `
const { createServer } = require('node:https')
const { existsSync, readFileSync } = require('node:fs')
const [, , files, broken, cert, key] = process.argv
const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) })
process.on('SIGHUP', () => {
  if (existsSync(broken)) return
  const both = readFileSync(files + '/current/combined.pem')
  server.setSecureContext({ cert: both, key: both })
})
server.listen(0, '127.0.0.1', () => process.send({ ready: { port: String(server.address().port) } }))
`

interface Listed {
  fingerprint: string
  trial?: { canary?: string; failures: number }
  readers: { reader: string; served: boolean }[]
}

/** What certs said of deliveries, oldest first. */
function told({ output }: RunningService): { msg: string; reader?: string; fingerprint?: string; why?: string }[] {
  return output.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []))
}

/** A server in this process that reads the certificate through the SDK. */
async function bot(house: House, url: string, name: string) {
  await using made = new AsyncDisposableStack()
  const hub = made.use(await connect(await house.credential(url, `bot/${name}`, ['cert:edge'])))
  const [cert, key] = await Promise.all([readFile(house.tls.certFile), readFile(house.tls.keyFile)])
  const server = createServer({ cert, key })
  made.defer(() => void server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const reader = made.use(certificates(hub, 'edge'))
  reader.attach(server)
  const seen: string[] = []
  reader.on('change', ({ fingerprint }) => seen.push(fingerprint))
  const resources = made.move()
  return { seen, [Symbol.asyncDispose]: () => resources.disposeAsync() }
}

it('a new certificate comes to one reader first: what is proven there goes to all, what is not is taken back', {
  timeout: 120_000,
}, async () => {
  await using house = await buildHouse()
  await using hub = await house.startHub({ HUB_LEASE_GRACE_MS: '1000' })
  const url = hub.ready.url!
  const wish = (names: string[], canary: string | false) =>
    writeFile(
      join(house.folder, 'certs.json'),
      JSON.stringify({
        issuers: { own: { type: 'local' } },
        certificates: { edge: { issuer: 'own', names, delivery: { canary, servedWithin: '4s' } } },
      }),
    )
  await wish(['edge.test'], 'web')
  await using certs = await startService(serviceScript('certs'), {
    CERTS_CONFIG_FILE: join(house.folder, 'certs.json'),
    CERTS_STATE_DIR: join(house.folder, 'certs'),
    CERT_STORE_KEY: randomBytes(32).toString('hex'),
    DAMON_CONNECTION_FILE: await house.connectionFile(url, 'certs/one', certsRights),
  })
  const [files, broken, script] = ['agent', 'broken', 'front.cjs'].map((name) => join(house.folder, name)) as [
    string,
    string,
    string,
  ]
  await writeFile(script, frontScript)
  await using front = await startService(script, {}, [`${files}/edge`, broken, house.tls.certFile, house.tls.keyFile])
  await using _agent = await startService(serviceScript('cert-agent'), {
    DAMON_CONNECTION_FILE: await house.connectionFile(url, 'web/one', ['cert:edge']),
    CERTIFICATES: 'edge',
    CERT_DIR: files,
    RELOAD_COMMAND: `/bin/kill -HUP ${front.pid}`,
    SERVED_AT: `127.0.0.1:${front.ready.port}`,
  })
  await using one = await bot(house, url, 'one')
  await using two = await bot(house, url, 'two')
  await using operator = await connect(await house.credential(url, 'operator/one', ['ask:group/certs:certs.list']))
  const listed = async (): Promise<Listed> => {
    const [answer] = await operator.group('certs').request('certs.list', null)
    return (answer!.value as Listed[])[0]!
  }
  const servedByAll = () =>
    eventually(async () => {
      const { fingerprint, readers } = await listed()
      expect(readers.map(({ served }) => served)).toEqual([true, true, true])
      return fingerprint
    })
  const shown = () => servedFingerprint({ host: '127.0.0.1', port: Number(front.ready.port) })
  const inFiles = async () => {
    const leaf = new X509Certificate(await readFile(join(files, 'edge/current/combined.pem')))
    return leaf.fingerprint256.replaceAll(':', '').toLowerCase()
  }

  const first = await servedByAll()
  expect(told(certs).some(({ msg }) => msg === 'tried on one reader first')).toBe(false)

  await wish(['edge.test', 'more.test'], 'web')
  certs.signal('SIGHUP')
  await certs.says('tried on one reader first')
  const second = await servedByAll()
  expect(second).not.toBe(first)
  expect(await shown()).toBe(second)
  const way = told(certs).filter(({ fingerprint, msg }) => fingerprint === second && msg !== 'issued')
  expect(way.map(({ msg }) => msg)).toEqual([
    'tried on one reader first',
    'delivered',
    'for everyone',
    'delivered',
    'delivered',
  ])
  expect(way[1]?.reader).toMatch(/^web\//)
  expect(way[2]?.why).toBe('proven')

  await writeFile(broken, '')
  await wish(['edge.test', 'more.test', 'third.test'], 'web')
  certs.signal('SIGHUP')
  await certs.says('the canary failed')
  const third = (await listed()).fingerprint
  await eventually(async () => expect(await inFiles()).toBe(second))
  expect(await shown()).toBe(second)
  expect((await listed()).trial).toMatchObject({ failures: 1 })
  const tried = told(certs).filter(({ fingerprint, msg }) => fingerprint === third && msg === 'delivered')
  expect(tried.map(({ reader }) => reader)).toEqual([way[1]?.reader])
  for (const { seen } of [one, two]) expect(seen).toEqual([first, second])

  await rm(broken)
  await wish(['edge.test', 'more.test', 'third.test'], false)
  certs.signal('SIGHUP')
  expect(await servedByAll()).toBe(third)
  expect(await shown()).toBe(third)
  for (const { seen } of [one, two]) expect(seen).toEqual([first, second, third])
})
