import { createPrivateKey, createPublicKey } from 'node:crypto'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { publicJwk } from '@damon/trust/keys'
import { verifyTrustList } from '@damon/trust/trust-list'
import { expect, test } from 'vitest'
import { damon } from './scripted-terminal.ts'

const passphrase = 'correct horse battery staple'

test('makes root, issuer and trust list, for their owner alone', async () => {
  await using folder = await temporaryFolder()
  const keys = join(folder.path, 'home', 'keys')
  const { code, out } = await damon(['keys', 'init', '--json'], { env: { DAMON_HOME: join(folder.path, 'home') } })
  expect(code).toBe(0)
  expect(JSON.parse(out)).toMatchObject({ root: join(keys, 'root.pem'), encrypted: false })
  expect((await readdir(keys)).sort()).toEqual(['issuer-op-1.json', 'root-public.json', 'root.pem', 'trust.jws'])
  expect((await stat(keys)).mode & 0o777).toBe(0o700)
  for (const file of await readdir(keys)) expect((await stat(join(keys, file))).mode & 0o777).toBe(0o600)
  const root = publicJwk.parse(JSON.parse(await readFile(join(keys, 'root-public.json'), 'utf8')))
  const list = await verifyTrustList((await readFile(join(keys, 'trust.jws'), 'utf8')).trim(), root, {
    aud: 'damon:main',
  })
  expect(list.issuers.map(({ kid }) => kid)).toEqual(['op-1'])
  expect(list.dev).toBeUndefined()
  const pem = createPublicKey(await readFile(join(keys, 'root.pem'), 'utf8')).export({ format: 'jwk' })
  expect(pem.x).toBe(root.x)
})

test('a passphrase encrypts the root private key', async () => {
  await using folder = await temporaryFolder()
  const file = join(folder.path, 'passphrase')
  await writeFile(file, `${passphrase}\n`)
  const { code, err } = await damon(['keys', 'init', '--dir', 'keys'], {
    cwd: folder.path,
    env: { DAMON_ROOT_PASSPHRASE_FILE: file },
  })
  expect({ code, err }).toEqual({ code: 0, err: '' })
  const pem = await readFile(join(folder.path, 'keys', 'root.pem'), 'utf8')
  expect(pem).toContain('BEGIN ENCRYPTED PRIVATE KEY')
  expect(() => createPrivateKey({ key: pem, passphrase: 'another one' })).toThrow()
  expect(createPrivateKey({ key: pem, passphrase }).asymmetricKeyType).toBe('ed25519')
})

test('without a passphrase it warns that the root key lies in clear', async () => {
  await using folder = await temporaryFolder()
  const { err } = await damon(['keys', 'init', '--dir', 'keys'], { cwd: folder.path })
  expect(err).toContain('in clear')
})

test('never overwrites keys, and leaves nothing behind when it must not', async () => {
  await using folder = await temporaryFolder()
  await damon(['keys', 'init', '--dir', 'keys'], { cwd: folder.path })
  const before = await readFile(join(folder.path, 'keys', 'root.pem'), 'utf8')
  const { code, err } = await damon(['keys', 'init', '--dir', 'keys'], { cwd: folder.path })
  expect({ code, err }).toEqual({ code: 73, err: expect.stringContaining('[exists]') })
  expect(await readFile(join(folder.path, 'keys', 'root.pem'), 'utf8')).toBe(before)
  expect(await readdir(folder.path)).toEqual(['keys'])
})

test('a folder with something else in it is not taken for a place for keys', async () => {
  await using folder = await temporaryFolder()
  await mkdir(join(folder.path, 'keys'))
  await writeFile(join(folder.path, 'keys', 'letter.txt'), 'Dear')
  const { code } = await damon(['keys', 'init', '--dir', 'keys'], { cwd: folder.path })
  expect(code).toBe(73)
  expect(await readdir(join(folder.path, 'keys'))).toEqual(['letter.txt'])
})

test('a short passphrase is refused and not repeated', async () => {
  await using folder = await temporaryFolder()
  const env = { DAMON_ROOT_PASSPHRASE: 'hunter2hunter2' }
  const { code, err } = await damon(['keys', 'init', '--dir', 'keys'], { cwd: folder.path, env })
  expect(code).toBe(64)
  expect(err).toContain('16 characters')
  expect(err).not.toContain('hunter2')
  expect(await readdir(folder.path)).toEqual([])
})
