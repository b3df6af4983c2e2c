import { chmod, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { parseCapabilities } from '@damon/trust/capabilities'
import { parseCredential } from '@damon/trust/credential'
import { mintToken, readToken } from '@damon/trust/token'
import { expect, test } from 'vitest'
import { profileNames, profiles } from '../src/profiles.ts'
import { damon } from './scripted-terminal.ts'

const day = 86_400_000
const url = 'wss://hub.example:8443'

async function homeWithKeys() {
  const folder = await temporaryFolder()
  const home = join(folder.path, 'home')
  const options = { cwd: folder.path, env: { DAMON_HOME: home } }
  expect((await damon(['keys', 'init'], options)).code).toBe(0)
  return { folder: folder.path, home, options, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
}

test('a minted file holds what was wished, and inspect finds it valid', async () => {
  await using place = await homeWithKeys()
  const args = ['bot/eu-1', '--can', 'join:bots,get:node/*', '--can', 'cert:edge', '--ttl', '30d', '--url', url]
  const { code, out } = await damon(['token', 'mint', ...args], place.options)
  expect(code).toBe(0)
  const file = join(place.home, 'connections', 'bot-eu-1.json')
  expect(out.split('\n')[0]).toBe(file)
  expect((await stat(file)).mode & 0o777).toBe(0o600)

  const credential = parseCredential(await readFile(file, 'utf8'))
  const claims = readToken(credential.token)
  expect(credential).toMatchObject({ urls: [url], aud: 'damon:main' })
  expect(credential.ca).toBeUndefined()
  expect(claims).toMatchObject({ sub: 'bot/eu-1', can: ['join:bots', 'get:node/*', 'cert:edge'] })
  expect(claims.cnf?.jwk.x).toBe(credential.identity?.x)
  expect((claims.exp - claims.iat) * 1000).toBe(30 * day)

  const inspected = await damon(['token', 'inspect', file, '--json'], place.options)
  expect(inspected.code).toBe(0)
  expect(JSON.parse(inspected.out)).toMatchObject({ sub: 'bot/eu-1', state: 'valid', bound: true, urls: [url] })
  const shown = await damon(['token', 'inspect', file], place.options)
  for (const secret of [credential.token, credential.identity!.d]) expect(shown.out).not.toContain(secret)
})

test('--join prints one string that inspect reads from standard input', async () => {
  await using place = await homeWithKeys()
  const args = ['bot/eu-1', '--profile', 'bot', '--url', `${url},wss://b.example`, '--join']
  const { out, err } = await damon(['token', 'mint', ...args], place.options)
  expect(out).toMatch(/^damon1\.[\w-]+$/)
  expect(err).toContain('secret')
  const { code, out: json } = await damon(['token', 'inspect', '-', '--json'], { ...place.options, input: `${out}\n` })
  expect(code).toBe(0)
  expect(JSON.parse(json)).toMatchObject({ urls: [url, 'wss://b.example'], can: [...profiles.bot.can] })
  const viaVariable = { ...place.options, env: { ...place.options.env, DAMON_JOIN: out } }
  expect((await damon(['token', 'inspect'], viaVariable)).out).toContain('bot/eu-1')
})

test('a bearer token has no key, and lives a day at most', async () => {
  await using place = await homeWithKeys()
  const args = ['token', 'mint', 'script/one', '--can', 'send:group/bots', '--bearer', '--url', url]
  const { out } = await damon([...args, '--json'], place.options)
  const { file, bound } = JSON.parse(out)
  expect(bound).toBe(false)
  const credential = parseCredential(await readFile(file, 'utf8'))
  const { exp, iat } = readToken(credential.token)
  expect(credential.identity).toBeUndefined()
  expect((exp - iat) * 1000).toBe(day)
  expect(await damon([...args, '--ttl', '25h'], place.options)).toMatchObject({ code: 64 })
  const secret = ['token', 'mint', 'script/two', '--can', 'get:node-secret/*', '--bearer', '--url', url]
  expect(await damon(secret, place.options)).toMatchObject({ code: 77, err: expect.stringContaining('[bad_token]') })
})

test('a file that is there is never overwritten', async () => {
  await using place = await homeWithKeys()
  const args = ['token', 'mint', 'bot/one', '--profile', 'bot', '--url', url, '--out', 'one.json']
  await damon(args, place.options)
  const before = await readFile(join(place.folder, 'one.json'), 'utf8')
  expect(await damon(args, place.options)).toMatchObject({ code: 73, err: expect.stringContaining('one.json') })
  expect(await readFile(join(place.folder, 'one.json'), 'utf8')).toBe(before)
})

test('every profile can be read and minted', async () => {
  await using place = await homeWithKeys()
  for (const name of profileNames) {
    expect(parseCapabilities(profiles[name].can, `${name}/one`)).toBeDefined()
    const { code } = await damon(['token', 'mint', `${name}/one`, '--profile', name, '--url', url], place.options)
    expect(code).toBe(0)
  }
})

test('the operator reads all but the passwords of nodes, and a sidecar writes nothing but its nodes', () => {
  const operator = parseCapabilities(profiles.operator.can, 'operator/one')
  for (const prefix of ['node/', 'service/', 'cert-reader/', 'cert/']) expect(operator.watches(prefix)).toBe(true)
  expect(operator.watches('node-secret/')).toBe(false)
  expect(operator.may('get', 'node-secret/a')).toBe(false)
  expect(operator.may('ask', 'group/hubs', 'hub.status')).toBe(true)
  const sidecar = parseCapabilities(profiles.sidecar.can, 'sidecar/one')
  expect(sidecar.may('put', 'node-secret/a')).toBe(true)
  expect(sidecar.may('put', 'cert/bot/a/b')).toBe(false)
  expect(sidecar.may('get', 'node-secret/a')).toBe(false)
  expect(sidecar.may('ask', 'group/bots', 'player.stop')).toBe(false)
})

test('inspect tells why a connection would be refused', async () => {
  await using place = await homeWithKeys()
  const mint = ['token', 'mint', 'bot/one', '--profile', 'bot', '--url', url, '--out', 'one.json']
  await damon(mint, place.options)
  const file = join(place.folder, 'one.json')
  const credential = JSON.parse(await readFile(file, 'utf8'))

  const other = { ...credential, identity: { ...credential.identity, x: credential.root.x } }
  await rm(file)
  await writeFile(file, JSON.stringify(other), { mode: 0o600 })
  const swapped = await damon(['token', 'inspect', file], place.options)
  expect(swapped).toMatchObject({ code: 78, out: expect.stringContaining('bad keys') })

  const expired = await damon(['token', 'inspect', '-', '--json'], {
    ...place.options,
    input: await expiredCredential(place, credential),
  })
  expect(JSON.parse(expired.out).state).toBe('token_expired')
  expect(expired.code).toBe(77)

  const raw = await damon(['token', 'inspect', '-', '--json'], { ...place.options, input: credential.token })
  expect(JSON.parse(raw.out)).toMatchObject({ sub: 'bot/one', state: 'not_verified' })
})

async function expiredCredential({ home }: { home: string }, credential: object): Promise<string> {
  const { kid, aud, key } = JSON.parse(await readFile(join(home, 'keys', 'issuer-op-1.json'), 'utf8'))
  const claims = { aud, sub: 'bot/one', jti: 'old', iat: 1_000_000, exp: 1_000_100, can: ['join:bots'] }
  return JSON.stringify({ ...credential, identity: undefined, token: await mintToken({ kid, key }, claims) })
}

test('keys that others may read are not used', async () => {
  await using place = await homeWithKeys()
  const issuer = join(place.home, 'keys', 'issuer-op-1.json')
  await chmod(issuer, 0o644)
  const args = ['token', 'mint', 'bot/one', '--profile', 'bot', '--url', url]
  expect(await damon(args, place.options)).toMatchObject({ code: 78, err: expect.stringContaining('chmod 600') })
})
