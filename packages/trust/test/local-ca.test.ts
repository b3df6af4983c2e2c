import 'reflect-metadata'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'
import * as x509 from '@peculiar/x509'
import { describe, expect, test } from 'vitest'
import { checkPair } from '../src/certificate-node.ts'
import { type Authority, createAuthority, type IssuedCertificate, issueLeaf } from '../src/local-ca.ts'

const now = Date.now()
const authority = await createAuthority({ name: 'Damon development', now, days: 365 })

/** What a client that trusts the authority says to a server with this certificate: `accepted` or what the error says. */
async function handshake(
  { key, chain }: IssuedCertificate,
  servername: string,
  ca = authority.certificate,
): Promise<string> {
  await using stack = new AsyncDisposableStack()
  const server = createServer({ key, cert: chain }, (socket) => socket.on('error', () => {}).resume())
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  stack.defer(() => new Promise((resolve) => server.close(() => resolve())))
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const socket: TLSSocket = connect({
    host: '127.0.0.1',
    port,
    ca,
    servername: /[a-z]/.test(servername) ? servername : '',
  })
  stack.defer(() => void socket.destroy())
  return await once(socket, 'secureConnect').then(
    () => 'accepted',
    (error: NodeJS.ErrnoException) => (error.code === 'UNSPECIFIED' ? error.message : (error.code ?? 'unknown')),
  )
}

/** A leaf for any name, made with a stolen key of the authority. */
async function stolenLeaf({ certificate, key }: Authority, names: x509.JsonGeneralNames): Promise<IssuedCertificate> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const signingKey = await crypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(key), algorithm, false, [
    'sign',
  ])
  const leaf = await x509.X509CertificateGenerator.create({
    issuer: new x509.X509Certificate(certificate).subjectName,
    subject: 'CN=Foreign leaf',
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: algorithm,
    notBefore: new Date(now - 60_000),
    notAfter: new Date(now + 86_400_000),
    extensions: [new x509.SubjectAlternativeNameExtension(names)],
  })
  const exported = await crypto.subtle.exportKey('pkcs8', keys.privateKey)
  return { key: x509.PemConverter.encode(exported, 'PRIVATE KEY'), chain: `${leaf.toString('pem')}\n${certificate}` }
}

describe('a server of the local authority', () => {
  test('is accepted under each of its names', async () => {
    const leaf = await issueLeaf(authority, {
      names: ['localhost', 'hub.test', '*.edge.test', '127.0.0.1', '::1'],
      now,
      days: 30,
    })
    expect(await handshake(leaf, 'localhost')).toBe('accepted')
    expect(await handshake(leaf, 'hub.test')).toBe('accepted')
    expect(await handshake(leaf, 'a.edge.test')).toBe('accepted')
    expect(await handshake(leaf, '127.0.0.1')).toBe('accepted')
    expect(await handshake(leaf, 'other.test')).toBe('ERR_TLS_CERT_ALTNAME_INVALID')
  })

  test('is refused by who trusts another authority of the same name', async () => {
    const other = await createAuthority({ name: 'Damon development', now, days: 365 })
    const leaf = await issueLeaf(authority, { names: ['localhost'], now, days: 30 })
    expect(await handshake(leaf, 'localhost', other.certificate)).not.toBe('accepted')
  })

  test('has a fitting pair, chain, dates and names', async () => {
    const leaf = await issueLeaf(authority, { names: ['localhost', '127.0.0.1'], now, days: 30 })
    const checked = checkPair({ ...leaf, names: ['localhost', '127.0.0.1'], now })
    expect(checked.names).toEqual(['localhost', '127.0.0.1'])
    expect(checked.notAfter.getTime()).toBe(Math.floor((now + 30 * 86_400_000) / 1000) * 1000)
  })

  test('never outlives its authority', async () => {
    const brief = await createAuthority({ name: 'Brief', now, days: 2 })
    const leaf = await issueLeaf(brief, { names: ['localhost'], now, days: 30 })
    expect(new X509Certificate(leaf.chain).validTo).toBe(new X509Certificate(brief.certificate).validTo)
  })
})

describe('who stole the authority', () => {
  test.each<[string, x509.JsonGeneralNames, string]>([
    ['a foreign name', [{ type: 'dns', value: 'discord.com' }], 'discord.com'],
    ['a name that ends alike', [{ type: 'dns', value: 'notlocalhost' }], 'notlocalhost'],
    [
      'a foreign name beside a local one',
      [
        { type: 'dns', value: 'localhost' },
        { type: 'dns', value: 'discord.com' },
      ],
      'localhost',
    ],
    ['a foreign address', [{ type: 'ip', value: '192.0.2.1' }], '127.0.0.1'],
    ['a foreign IPv6 address', [{ type: 'ip', value: '2001:db8::1' }], '127.0.0.1'],
  ])('cannot serve %s', async (_name, names, servername) => {
    expect(await handshake(await stolenLeaf(authority, names), servername)).toBe('permitted subtree violation')
  })

  test('the same leaf for a local name is accepted: it is the constraint that refuses', async () => {
    expect(await handshake(await stolenLeaf(authority, [{ type: 'dns', value: 'localhost' }]), 'localhost')).toBe(
      'accepted',
    )
  })

  test('cannot make another authority', async () => {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
    const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
    const signingKey = await crypto.subtle.importKey(
      'pkcs8',
      x509.PemConverter.decodeFirst(authority.key),
      algorithm,
      false,
      ['sign'],
    )
    const inner = await x509.X509CertificateGenerator.create({
      issuer: new x509.X509Certificate(authority.certificate).subjectName,
      subject: 'CN=Inner authority',
      publicKey: keys.publicKey,
      signingKey,
      signingAlgorithm: algorithm,
      notBefore: new Date(now - 60_000),
      notAfter: new Date(now + 86_400_000),
      extensions: [
        new x509.BasicConstraintsExtension(true, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      ],
    })
    const key = x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY')
    const leaf = await stolenLeaf({ certificate: inner.toString('pem'), key }, [{ type: 'dns', value: 'localhost' }])
    expect(await handshake(leaf, 'localhost')).toBe('PATH_LENGTH_EXCEEDED')
  })
})

describe('an authority for other names', () => {
  test('signs for them, their subdomains and networks, and says what it refuses', async () => {
    const own = await createAuthority({
      name: 'Compose',
      now,
      days: 30,
      permitted: ['hub', 'damon.example', '10.0.0.0/8', 'fd00::/8'],
    })
    const leaf = await issueLeaf(own, { names: ['hub', 'a.damon.example', '10.1.2.3', 'fd00::7'], now, days: 7 })
    expect(await handshake(leaf, 'hub', own.certificate)).toBe('accepted')
    for (const name of ['localhost', 'example', 'xdamon.example', '127.0.0.1', '::1']) {
      await expect(issueLeaf(own, { names: [name], now, days: 7 })).rejects.toThrow(RangeError)
    }
  })

  test('without networks it cannot sign for any address', async () => {
    const own = await createAuthority({ name: 'Names', now, days: 30, permitted: ['test'] })
    const leaf = await stolenLeaf(own, [
      { type: 'dns', value: 'hub.test' },
      { type: 'ip', value: '192.0.2.1' },
    ])
    expect(await handshake(leaf, 'hub.test', own.certificate)).toBe('excluded subtree violation')
  })

  test('without names it cannot sign for any name', async () => {
    const own = await createAuthority({ name: 'Networks', now, days: 30, permitted: ['127.0.0.0/8'] })
    const leaf = await stolenLeaf(own, [{ type: 'dns', value: 'hub.test' }])
    expect(await handshake(leaf, 'hub.test', own.certificate)).toBe('excluded subtree violation')
  })
})

describe('a pair that cannot serve is refused with what is wrong', async () => {
  const leaf = await issueLeaf(authority, { names: ['localhost', '*.edge.test'], now, days: 30 })
  const other = await issueLeaf(authority, { names: ['localhost'], now, days: 30 })
  const stranger = await createAuthority({ name: 'Damon development', now, days: 365 })
  const [leafPem = ''] = leaf.chain.split(/(?<=-----END CERTIFICATE-----\n)/)
  const year = 365 * 86_400_000

  test.each<[string, Partial<Parameters<typeof checkPair>[0]>, RegExp]>([
    ['another key', { key: other.key }, /key does not belong/],
    ['no key', { key: 'nothing' }, /key cannot be read/],
    ['no certificate', { chain: '' }, /no certificate/],
    ['a damaged certificate', { chain: leaf.chain.replace('MII', 'MAA') }, /cannot be read/],
    ['another issuer of the same name', { chain: leafPem + stranger.certificate }, /not issued by the next/],
    ['a leaf as issuer', { chain: leafPem + other.chain }, /no authority|not issued by the next/],
    ['a time before', { now: now - 600_000 }, /not valid yet/],
    ['a time after', { now: now + year }, /has expired/],
    ['another name', { names: ['localhost', 'hub.test'] }, /not for hub\.test/],
    ['a name two levels under the wildcard', { names: ['a.b.edge.test'] }, /not for a\.b\.edge\.test/],
    ['another wildcard', { names: ['*.test'] }, /not for \*\.test/],
    ['an address', { names: ['127.0.0.1'] }, /not for 127\.0\.0\.1/],
  ])('%s', (_name, changes, detail) => {
    expect(() => checkPair({ ...leaf, now, ...changes })).toThrowError(
      expect.objectContaining({ code: 'bad_envelope', message: expect.stringMatching(detail) }),
    )
  })

  test('and without a fault it is accepted, wildcard and all', () => {
    expect(checkPair({ ...leaf, names: ['localhost', '*.edge.test', 'a.edge.test'], now }).fingerprint).toMatch(
      /^[0-9a-f]{64}$/,
    )
  })
})
