import { expect, test } from 'vitest'
import { type Credential, encodeJoin, parseCredential } from '../src/credential.ts'
import { generateKey } from '../src/keys.ts'

const root = await generateKey()
const identity = await generateKey()
const credential: Credential = {
  damon: 1,
  urls: ['wss://localhost:8443'],
  aud: 'damon:test',
  root: root.publicKey,
  trust: 'a.b.c',
  token: 'd.e.f',
  ca: '-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n',
  identity: identity.privateKey,
}

test('a connection file and a join string say the same', () => {
  expect(parseCredential(JSON.stringify(credential, null, 2))).toEqual(credential)
  expect(parseCredential(`${encodeJoin(credential)}\n`)).toEqual(credential)
  expect(encodeJoin(credential)).toMatch(/^damon1\.[A-Za-z0-9_-]+$/)
})

test.each<[string, object, string]>([
  ['another format', { damon: 2 }, 'damon'],
  ['no hub', { urls: [] }, 'urls'],
  ['a hub without TLS', { urls: ['ws://localhost:8443'] }, 'urls.0'],
  ['a password in the URL', { urls: ['wss://me:secret@localhost:8443'] }, 'urls.0'],
  ['no token', { token: undefined }, 'token'],
  ['a CA that is no PEM', { ca: 'ca.pem' }, 'ca'],
  ['half an identity', { identity: identity.publicKey }, 'identity.d'],
  ['another kind of root', { root: { kty: 'EC' } }, 'root.kty'],
])('%s is refused and named', (_name, changes, field) => {
  expect(() => parseCredential(JSON.stringify({ ...credential, ...changes }))).toThrowError(
    expect.objectContaining({ code: 'bad_credential', field }),
  )
})

test('a text that does not decode is refused without repeating it', () => {
  const secret = identity.privateKey.d
  for (const text of [
    '',
    'null',
    '[]',
    'damon1.',
    'damon1.%%%',
    `{"identity":{"d":"${secret}"`,
    `damon1.${btoa(`{"d":"${secret}`)}`,
  ]) {
    let error: unknown
    try {
      parseCredential(text)
    } catch (reason) {
      error = reason
    }
    expect(error).toMatchObject({ code: 'bad_credential' })
    expect(JSON.stringify([String(error), String((error as Error).cause)])).not.toContain(secret)
  }
})
