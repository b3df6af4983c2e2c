import { createServer, request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { connect, createServer as createTlsServer, type TLSSocket } from 'node:tls'
import type { DamonError } from '@damon/protocol/errors'
import { certReader } from '@damon/protocol/records'
import { eventually } from '@damon/testkit/eventually'
import { FakeRecords } from '@damon/testkit/fake-records'
import { aud, type TrustedIssuer, trustedIssuer } from '@damon/testkit/trusted-issuer'
import type { Credential } from '@damon/trust/credential'
import { type CertificatePair, sealCertificate } from '@damon/trust/envelope'
import { type Authority, createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { verifyReader, verifyReceipt } from '@damon/trust/reader'
import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { certificates } from '../src/certificates-node.ts'
import { servedFingerprint } from '../src/served-certificate-node.ts'

type Bound = Credential & { identity: NonNullable<Credential['identity']> }

let authority: Authority
let issuer: TrustedIssuer
let certs: Bound

beforeAll(async () => {
  authority = await createAuthority({ name: 'test', now: Date.now(), days: 100 })
  issuer = await trustedIssuer()
  certs = await issuer.credential('certs/one', ['issue:*'])
})

const leaf = (names = ['edge.test'], now = Date.now()) => issueLeaf(authority, { names, now, days: 30 })

/** A reader of the certificate edge on in-memory records, and the certifier's side of it. */
async function setup(options: { names?: string[] } = {}) {
  const records = new FakeRecords()
  const credential = await issuer.credential('bot/one', ['cert:edge'])
  const hub = { credential, subject: 'bot/one', announce: records.announce, watch: records.watch }
  const reader = certificates(hub, 'edge', options)
  onTestFinished(() => reader[Symbol.asyncDispose]())
  const refused: DamonError[] = []
  reader.on('refused', (error) => refused.push(error))
  const key = await eventually(() =>
    expect([...records.entries.keys()].find((one) => one.startsWith('cert-reader/'))).toBeDefined(),
  ).then(() => [...records.entries.keys()].find((one) => one.startsWith('cert-reader/'))!)
  const record = () => certReader.parse(records.entries.get(key)!.value)
  const verified = () => verifyReader(record(), key, { trust: issuer.trust, aud, now: Date.now() })
  const seal = async (
    pair: CertificatePair,
    version: number,
    by: Bound = certs,
    to?: { name: string; publicKey: string },
  ) => sealCertificate(pair, { ...by, reader: to ?? (await verified()), id: 'edge', version })
  const deliver = async (pair: CertificatePair, version: number, by?: Bound) => put(await seal(pair, version, by))
  const put = (jws: string) =>
    records.forge(key.replace('cert-reader/', 'cert/').concat('/edge'), { value: { jws }, leased: false })
  return { records, reader, refused, key, record, verified, seal, put, deliver }
}

/** An HTTPS server with a certificate of its own to begin with. */
async function httpsServer() {
  const { key, chain } = await leaf(['first.test'])
  const server = createServer({ key, cert: chain }, (_, response) => response.end('hello'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { server, port, shown: () => servedFingerprint({ host: '127.0.0.1', port }, 'edge.test') }
}

test('a running server shows the delivered certificate to new connections, and open ones live on', async () => {
  const edge = await setup()
  const { server, port, shown } = await httpsServer()
  const before = await shown()
  const open: TLSSocket = connect({ host: '127.0.0.1', port, ca: authority.certificate, servername: 'first.test' })
  await new Promise<void>((resolve) => open.once('secureConnect', resolve))
  edge.reader.attach(server)
  await edge.deliver(await leaf(), 5)
  const { fingerprint, names } = await edge.reader.ready()
  expect(names).toEqual(['edge.test'])
  expect(await shown()).toBe(fingerprint)
  expect(fingerprint).not.toBe(before)
  open.write('GET / HTTP/1.1\r\nHost: first.test\r\nConnection: close\r\n\r\n')
  expect(String(await new Promise((resolve) => open.once('data', resolve)))).toContain('200 OK')
  const trusted = await new Promise<number | undefined>((resolve, reject) => {
    const options = { host: '127.0.0.1', port, ca: authority.certificate, servername: 'edge.test', agent: false }
    request(options, (response) => resolve(response.statusCode))
      .on('error', reject)
      .end()
  })
  expect(trusted).toBe(200)
})

test('the receipt names what a handshake with the server has shown', async () => {
  const edge = await setup()
  const { server, shown } = await httpsServer()
  edge.reader.attach(server)
  await edge.deliver(await leaf(), 5)
  await eventually(() => expect(edge.record().receipts).toBeDefined())
  const serving = await verifyReceipt(edge.record().receipts!, await edge.verified())
  expect(serving).toEqual({ edge: { fingerprint: await shown(), version: 5 } })
})

test('a server that is attached before it listens, or after the certificate came, is served all the same', async () => {
  const edge = await setup()
  await edge.deliver(await leaf(), 5)
  const { fingerprint } = await edge.reader.ready()
  const late = await httpsServer()
  edge.reader.attach(late.server)
  expect(await late.shown()).toBe(fingerprint)
  const early = createServer()
  edge.reader.attach(early)
  onTestFinished(() => void early.close())
  early.listen(0, '127.0.0.1')
  await eventually(() => expect(early.listening).toBe(true))
  const { port } = early.address() as AddressInfo
  expect(await servedFingerprint({ host: '127.0.0.1', port }, 'edge.test')).toBe(fingerprint)
  await eventually(() => expect(edge.record().receipts).toBeDefined())
})

test('with several servers there is no receipt before all of them show the certificate', async () => {
  const edge = await setup()
  const [good, bad] = [await httpsServer(), await httpsServer()]
  await edge.deliver(await leaf(), 5)
  const { key, chain } = await edge.reader.ready()
  const badProof = edge.reader.prove({ host: '127.0.0.1', port: bad.port })
  good.server.setSecureContext({ key, cert: chain })
  await edge.reader.prove({ host: '127.0.0.1', port: good.port })
  expect(edge.record().receipts).toBeUndefined()
  bad.server.setSecureContext({ key, cert: chain })
  await badProof
  expect(edge.record().receipts).toBeDefined()
})

test('a server that goes on showing another certificate gets no receipt', async () => {
  const edge = await setup()
  const { port } = await httpsServer()
  await edge.deliver(await leaf(), 5)
  await edge.reader.ready()
  const proof = edge.reader.prove({ host: '127.0.0.1', port })
  proof.catch(() => {})
  await edge.deliver(await leaf(), 6)
  await expect(proof).rejects.toMatchObject({ code: 'closed' })
  expect(edge.record().receipts).toBeUndefined()
})

test('an older version, a foreign signer, a swapped key and damage are refused with their codes, and the old pair stays', async () => {
  const edge = await setup()
  const other = await setup()
  const { server, shown } = await httpsServer()
  edge.reader.attach(server)
  await edge.deliver(await leaf(), 5)
  const { fingerprint } = await edge.reader.ready()
  const codes = () => edge.refused.map(({ code }) => code)
  await edge.deliver(await leaf(), 5)
  await eventually(() => expect(codes()).toEqual(['stale_envelope']))
  await edge.deliver(await leaf(), 4)
  await eventually(() => expect(codes()).toHaveLength(2))
  await edge.deliver(await leaf(), 6, await issuer.credential('bot/evil', ['cert:edge', 'issue:other']))
  await eventually(() => expect(codes()).toHaveLength(3))
  await edge.deliver(await leaf(), 6, await (await trustedIssuer()).credential('certs/one', ['issue:*']))
  await eventually(() => expect(codes()).toHaveLength(4))
  const own = await edge.verified()
  edge.put(await edge.seal(await leaf(), 6, certs, { name: own.name, publicKey: (await other.verified()).publicKey }))
  await eventually(() => expect(codes()).toHaveLength(5))
  edge.put(await other.seal(await leaf(), 6))
  await eventually(() => expect(codes()).toHaveLength(6))
  edge.put('not.an.envelope')
  await eventually(() => expect(codes()).toHaveLength(7))
  expect(codes()).toEqual(['stale_envelope', 'stale_envelope', ...Array<string>(5).fill('bad_envelope')])
  expect(edge.reader.current?.fingerprint).toBe(fingerprint)
  expect(await shown()).toBe(fingerprint)
  const next = await leaf()
  await edge.deliver(next, 6)
  await eventually(() => expect(edge.reader.current?.key).toBe(next.key))
})

test('a pair that does not fit, an expired one, a broken chain and missing names are refused', async () => {
  const edge = await setup({ names: ['edge.test'] })
  const [one, two] = [await leaf(), await leaf()]
  const foreign = await createAuthority({ name: 'foreign', now: Date.now(), days: 1 })
  const broken = one.chain.replace(authority.certificate, foreign.certificate)
  const messages = () => edge.refused.map(({ message }) => message).join('\n')
  await edge.deliver({ key: two.key, chain: one.chain }, 1)
  await eventually(() => expect(messages()).toContain('The key does not belong'))
  await edge.deliver(await leaf(['edge.test'], Date.now() - 60 * 86_400_000), 2)
  await eventually(() => expect(messages()).toContain('has expired'))
  await edge.deliver({ key: one.key, chain: broken }, 3)
  await eventually(() => expect(messages()).toContain('is not issued by the next'))
  await edge.deliver(await leaf(['other.test']), 4)
  await eventually(() => expect(messages()).toContain('is not for edge.test'))
  expect(edge.reader.current).toBeUndefined()
  expect(messages()).not.toContain('PRIVATE KEY')
})

test('the same delivery seen twice, as after a reconnect, is neither refused nor a change', async () => {
  const edge = await setup()
  let changes = 0
  edge.reader.on('change', () => changes++)
  const jws = await edge.seal(await leaf(), 5)
  edge.put(jws)
  await edge.reader.ready()
  edge.put(jws)
  await edge.deliver(await leaf(), 6)
  await eventually(() => expect(changes).toBe(2))
  expect(edge.refused).toEqual([])
})

test('two connections have keys of their own, and the last reader of one takes its record away', async () => {
  const [one, two] = [await setup(), await setup()]
  expect(one.key).not.toBe(two.key)
  await one.reader[Symbol.asyncDispose]()
  expect(one.records.entries.size).toBe(0)
  await expect(one.reader.ready()).rejects.toMatchObject({ code: 'closed' })
})

test('a reader ends also while the hub does not answer', async () => {
  const edge = await setup()
  edge.records.drop = () => new Promise(() => {})
  await edge.reader[Symbol.asyncDispose]()
  expect(edge.records.entries.has(edge.key)).toBe(true)
})

test('a credential without a key cannot read certificates, and says so', async () => {
  const records = new FakeRecords()
  const { identity: _, ...bearer } = await issuer.credential('bot/one', ['cert:edge'])
  const hub = { credential: bearer, subject: 'bot/one', announce: records.announce, watch: records.watch }
  const reader = certificates(hub, 'edge')
  reader.on('refused', () => {})
  await expect(reader.ready()).rejects.toMatchObject({ code: 'bad_credential' })
})

test('a server that does not take a certificate leaves it to none, and the one before stays in use everywhere', async () => {
  const edge = await setup()
  const [good, bad] = [await httpsServer(), await httpsServer()]
  edge.reader.attach(good.server)
  await edge.deliver(await leaf(), 5)
  const { fingerprint } = await edge.reader.ready()
  edge.reader.attach(bad.server)
  const refusing = bad.server as { setSecureContext(options: object): void }
  refusing.setSecureContext = () => {
    throw new Error('ee key too small')
  }
  await edge.deliver(await leaf(), 6)
  await eventually(() => expect(edge.refused.map(({ code }) => code)).toEqual(['bad_envelope']))
  expect(edge.reader.current?.fingerprint).toBe(fingerprint)
  expect([await good.shown(), await bad.shown()]).toEqual([fingerprint, fingerprint])
})

test('the secure context is that of the certificate in use', async () => {
  const edge = await setup()
  expect(edge.reader.secureContext).toBeUndefined()
  await edge.deliver(await leaf(), 5)
  await edge.reader.ready()
  const { server, shown } = await httpsServer()
  edge.reader.attach(server)
  const next = await leaf()
  await edge.deliver(next, 6)
  await eventually(() => expect(edge.reader.current?.key).toBe(next.key))
  const own = createTlsServer({ SNICallback: (_, done) => done(null, edge.reader.secureContext) })
  await new Promise<void>((resolve) => own.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void own.close())
  const { port } = own.address() as AddressInfo
  expect(await servedFingerprint({ host: '127.0.0.1', port }, 'edge.test')).toBe(await shown())
})
