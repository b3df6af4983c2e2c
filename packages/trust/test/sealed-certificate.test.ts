import { beforeAll, describe, expect, test } from 'vitest'
import * as z from 'zod/mini'
import { envelopeKey, leafFingerprint, nextVersion, openCertificate, sealCertificate } from '../src/envelope.ts'
import { generateKey, type KeyPairJwk } from '../src/keys.ts'
import { createAuthority, type IssuedCertificate, issueLeaf } from '../src/local-ca.ts'
import {
  createReader,
  type Reader,
  readerKey,
  signReceipt,
  signStatement,
  type VerifiedReader,
  verifyReader,
  verifyReceipt,
} from '../src/reader.ts'
import { sign } from '../src/signed.ts'
import { mintToken } from '../src/token.ts'
import { aud, createWorld, expectRefusal, now, type World, withPayload } from './world.ts'

interface Member {
  identity: KeyPairJwk
  token: string
}

let world: World
let bot: Member
let certs: Member
let reader: Reader
let statement: string
let certificate: IssuedCertificate

async function member(sub: string, can: string[], issuedBy = world): Promise<Member> {
  const identity = await generateKey()
  return {
    identity,
    token: await issuedBy.token({ sub, jti: sub.replace('/', '-'), can, cnf: { jwk: identity.publicKey } }),
  }
}

const stated = (by: Member, of: Reader, changes: object = {}) =>
  signStatement(of, { identity: by.identity.privateKey, token: by.token, aud, wants: ['edge'], now, ...changes })

const checked = (text: string, key: string, at = now): Promise<VerifiedReader> =>
  verifyReader({ statement: text }, key, { trust: world.trust, aud, now: at })

const sealed = (changes: object = {}) =>
  sealCertificate(certificate, {
    reader,
    id: 'edge',
    version: now,
    aud,
    token: certs.token,
    identity: certs.identity.privateKey,
    ...changes,
  })

const opened = (jws: string, changes: object = {}) =>
  openCertificate(jws, { reader, id: 'edge', aud, trust: world.trust, now, after: 0, ...changes })

beforeAll(async () => {
  world = await createWorld()
  bot = await member('bot/eu-1', ['cert:edge'])
  certs = await member('certs/main', ['issue:*', 'get:cert-reader/*', 'put:cert/*'])
  reader = await createReader('bot')
  statement = await stated(bot, reader)
  const authority = await createAuthority({ name: 'Test', now, days: 30 })
  certificate = await issueLeaf(authority, { names: ['localhost'], now, days: 7 })
})

test('a certificate goes from certs to its reader and the receipt comes back', async () => {
  const verified = await checked(statement, readerKey(reader))
  expect(verified).toMatchObject({ name: reader.name, wants: ['edge'], denied: [], publicKey: reader.publicKey })
  const jws = await sealed({ reader: verified })
  const result = await opened(jws)
  expect(result).toEqual({ ...certificate, fingerprint: await leafFingerprint(certificate.chain), version: now })
  const serving = { edge: { fingerprint: result.fingerprint, version: result.version } }
  const receipt = await signReceipt(reader, { identity: bot.identity.privateKey, aud, serving })
  expect(await verifyReceipt(receipt, verified)).toEqual(serving)
})

test('the keys name reader, service and certificate, and fit the capabilities', () => {
  expect(readerKey(reader)).toMatch(/^cert-reader\/bot\/[0-9a-f]{16}$/)
  expect(envelopeKey(reader, 'edge')).toBe(`cert/${reader.name}/edge`)
})

test('no private key shows in an envelope, and the reader cannot give its own away', async () => {
  const jws = await sealed()
  const line = certificate.key.split('\n')[1] ?? ''
  expect(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString()).not.toContain(line)
  expect(reader.keys.privateKey.extractable).toBe(false)
  await expect(crypto.subtle.exportKey('jwk', reader.keys.privateKey)).rejects.toThrow()
})

describe('certs refuses a reader', () => {
  test('whose key was swapped by the hub', async () => {
    const hubs = await createReader('bot')
    const swapped = withPayload(statement, (payload) => ({ ...payload, key: hubs.publicKey }))
    await expectRefusal(checked(swapped, readerKey(hubs)), 'bad_reader', /signature/)
    await expectRefusal(checked(swapped, readerKey(reader)), 'bad_reader', /signature/)
  })

  test('that the hub signed with an identity of its own, or with a token it saw', async () => {
    const hubs = await createReader('bot')
    const own = await generateKey()
    await expectRefusal(
      checked(await stated({ identity: own, token: bot.token }, hubs), readerKey(hubs)),
      'bad_reader',
      /signature/,
    )
    const forged = await mintToken(
      { kid: 'op-1', key: own.privateKey },
      world.claims({ can: ['cert:edge'], cnf: { jwk: own.publicKey } }),
    )
    await expectRefusal(
      checked(await stated({ identity: own, token: forged }, hubs), readerKey(hubs)),
      'bad_reader',
      /token fails \(bad_token\)/,
    )
  })

  test('under the key of another reader or another service', async () => {
    const other = await createReader('bot')
    await expectRefusal(checked(statement, readerKey(other)), 'bad_reader', /key must be/)
    await expectRefusal(
      checked(statement, readerKey(reader).replace('/bot/', '/sidecar/')),
      'bad_reader',
      /key must be/,
    )
    await expectRefusal(checked(statement, `${readerKey(reader)}/x`), 'bad_reader', /key must be/)
  })

  test('outside the day of its statement, or of a token that has ended', async () => {
    await checked(statement, readerKey(reader), now + 3_600_000)
    await expectRefusal(checked(statement, readerKey(reader), now + 3_700_000), 'bad_reader', /token_expired/)
    const long = await member('bot/long', ['cert:edge'])
    const iat = now / 1000
    const cnf = { jwk: long.identity.publicKey }
    long.token = await world.token({ sub: 'bot/long', can: ['cert:edge'], exp: iat + 90 * 86_400, cnf })
    const text = await stated(long, reader)
    await checked(text, readerKey(reader), now + 86_400_000)
    await expectRefusal(checked(text, readerKey(reader), now + 86_500_000), 'bad_reader', /outside its time/)
    await expectRefusal(checked(text, readerKey(reader), now - 3_600_000), 'bad_reader')
  })

  test('for another audience, without a key in its token, or damaged', async () => {
    await expectRefusal(
      checked(await stated(bot, reader, { aud: 'damon:prod' }), readerKey(reader)),
      'bad_reader',
      /audience/,
    )
    const bearer = { identity: bot.identity, token: await world.token() }
    await expectRefusal(checked(await stated(bearer, reader), readerKey(reader)), 'bad_reader', /not bound/)
    for (const text of ['', 'a.b.c', statement.slice(0, -2), bot.token, 'x'.repeat(10_000)]) {
      await expectRefusal(checked(text, readerKey(reader)), 'bad_reader')
    }
  })

  test('nothing but the certificates of its token', async () => {
    const text = await stated(bot, reader, { wants: ['edge', 'api', 'edge'] })
    expect(await checked(text, readerKey(reader))).toMatchObject({ wants: ['edge'], denied: ['api'] })
  })
})

describe('a reader refuses', () => {
  test('an envelope for another reader, moved to it by the hub', async () => {
    const other = await createReader('bot')
    await expectRefusal(opened(await sealed({ reader: other })), 'bad_envelope', /another reader/)
  })

  test('an envelope that names it but is sealed to another key', async () => {
    const other = await createReader('bot')
    const jws = await sealed({ reader: { name: reader.name, publicKey: other.publicKey } })
    await expectRefusal(opened(jws), 'bad_envelope', /does not open/)
  })

  test('an envelope of another certificate', async () => {
    await expectRefusal(opened(await sealed({ id: 'api' })), 'bad_envelope', /another cert/)
  })

  test('an old version and the same one again', async () => {
    const jws = await sealed()
    await opened(jws, { after: now - 1 })
    await expectRefusal(opened(jws, { after: now }), 'stale_envelope')
    await expectRefusal(opened(jws, { after: now + 5 }), 'stale_envelope')
  })

  test('an envelope in which the hub changed any field', async () => {
    const jws = await sealed()
    const fresh = await sealed({ version: now + 1 })
    const { enc, ct } = JSON.parse(Buffer.from(fresh.split('.')[1] ?? '', 'base64url').toString())
    for (const change of [
      { version: now + 100 },
      { reader: 'bot/0000000000000000' },
      { cert: 'api' },
      { fingerprint: 'a'.repeat(64) },
      { enc },
      { ct },
      { enc, ct },
      { token: bot.token },
      { aud: 'damon:prod' },
    ]) {
      await expectRefusal(opened(withPayload(jws, (payload) => ({ ...payload, ...change }))), 'bad_envelope')
    }
  })

  test('an envelope with any byte flipped', async () => {
    const jws = await sealed()
    for (let index = 0; index < jws.length; index += 37) {
      const replacement = jws[index] === 'A' ? 'B' : 'A'
      await expectRefusal(opened(jws.slice(0, index) + replacement + jws.slice(index + 1)), 'bad_envelope')
    }
  })

  test('an envelope that the hub made with a key and token of its own', async () => {
    const hubs = await createWorld()
    const hub = await member('certs/main', ['issue:*'], hubs)
    await expectRefusal(
      opened(await sealed({ token: hub.token, identity: hub.identity.privateKey })),
      'bad_envelope',
      /token fails/,
    )
    await expectRefusal(opened(await sealed({ identity: hub.identity.privateKey })), 'bad_envelope', /signature/)
  })

  test('an envelope of a member that may not issue, or not this certificate', async () => {
    await expectRefusal(
      opened(await sealed({ token: bot.token, identity: bot.identity.privateKey })),
      'bad_envelope',
      /may not issue/,
    )
    const narrow = await member('certs/narrow', ['issue:api'])
    await expectRefusal(
      opened(await sealed({ token: narrow.token, identity: narrow.identity.privateKey })),
      'bad_envelope',
      /may not issue/,
    )
  })

  test('an envelope whose sender was revoked or whose token has ended', async () => {
    const jws = await sealed()
    const trust = { ...world.trust, revoked: { subs: ['certs/*'] } }
    await expectRefusal(opened(jws, { trust }), 'bad_envelope', /token_revoked/)
    await expectRefusal(opened(jws, { now: now + 90 * 86_400_000 }), 'bad_envelope', /token_expired/)
  })

  test('an envelope whose associated data or leaf is not what its fields say, though rightly signed', async () => {
    const kind = { typ: 'damon-cert+jwt', maxBytes: 65_536, payload: z.looseObject({}), code: 'bad_envelope' } as const
    const payload = JSON.parse(Buffer.from((await sealed()).split('.')[1] ?? '', 'base64url').toString())
    for (const change of [{ version: now + 1 }, { fingerprint: 'a'.repeat(64) }]) {
      const jws = await sign(kind, { ...payload, ...change }, certs.identity.privateKey)
      await expectRefusal(opened(jws), 'bad_envelope', /does not open/)
    }
  })

  test('an envelope for another audience or of another type', async () => {
    await expectRefusal(opened(await sealed({ aud: 'damon:prod' })), 'bad_envelope', /another aud/)
    await expectRefusal(opened(statement), 'bad_envelope', /type/)
    for (const text of ['', 'a.b.c', 'x'.repeat(70_000)]) await expectRefusal(opened(text), 'bad_envelope')
  })
})

describe('certs refuses a receipt', () => {
  const serving = { edge: { fingerprint: 'a'.repeat(64), version: 1 } }

  test('of another reader, by another key, for another audience, or damaged', async () => {
    const verified = await checked(statement, readerKey(reader))
    const other = await createReader('bot')
    const identity = bot.identity.privateKey
    await expectRefusal(
      verifyReceipt(await signReceipt(other, { identity, aud, serving }), verified),
      'bad_reader',
      /another reader/,
    )
    await expectRefusal(
      verifyReceipt(await signReceipt(reader, { identity, aud: 'x', serving }), verified),
      'bad_reader',
    )
    const stranger = (await generateKey()).privateKey
    await expectRefusal(
      verifyReceipt(await signReceipt(reader, { identity: stranger, aud, serving }), verified),
      'bad_reader',
      /signature/,
    )
    await expectRefusal(verifyReceipt(statement, verified), 'bad_reader', /type/)
  })
})

test('a chain without a certificate cannot be sealed', async () => {
  const empty = { key: certificate.key, chain: '' }
  const to = { reader, id: 'edge', version: 1, aud, token: certs.token, identity: certs.identity.privateKey }
  await expectRefusal(sealCertificate(empty, to), 'bad_envelope')
})

test('a version grows with each delivery, even when the clock or the store went back', () => {
  expect(nextVersion(0, 1_000)).toBe(1_000)
  expect(nextVersion(1_000, 1_000)).toBe(1_001)
  expect(nextVersion(5_000, 1_000)).toBe(5_001)
})
