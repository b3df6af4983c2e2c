import { lstat, mkdir, readdir, readFile, readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { DeliveredCertificate } from '@damon/client/certificates-node'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, test } from 'vitest'
import { CertificateFolder } from '../src/folder.ts'

function certificate(version: number): DeliveredCertificate {
  return {
    key: `-----BEGIN PRIVATE KEY-----\nkey ${version}\n-----END PRIVATE KEY-----\n`,
    chain: `-----BEGIN CERTIFICATE-----\nchain ${version}\n-----END CERTIFICATE-----`,
    fingerprint: String(version).padStart(64, '0'),
    version,
    names: ['edge.test'],
    notBefore: new Date(0),
    notAfter: new Date(1),
  }
}

test('key, chain and both together lie behind one link, for their owner only', async () => {
  await using temporary = await temporaryFolder()
  const path = join(temporary.path, 'certificates/edge')
  const folder = await CertificateFolder.open(path, 0o600)
  expect(await folder.put(certificate(1))).toBe(true)
  const read = (name: string) => readFile(join(folder.current, name), 'utf8')
  expect(await read('fullchain.pem')).toBe(`${certificate(1).chain}\n`)
  expect(await read('privkey.pem')).toBe(certificate(1).key)
  expect(await read('combined.pem')).toBe(`${certificate(1).key}${certificate(1).chain}\n`)
  expect((await lstat(folder.current)).isSymbolicLink()).toBe(true)
  for (const name of await readdir(folder.current)) {
    expect((await stat(join(folder.current, name))).mode & 0o777).toBe(0o600)
  }
  expect((await stat(path)).mode & 0o777).toBe(0o700)
})

test('with 0640 the group may read, whatever the umask', async () => {
  await using temporary = await temporaryFolder()
  const before = process.umask(0o077)
  try {
    const folder = await CertificateFolder.open(join(temporary.path, 'edge'), 0o640)
    await folder.put(certificate(1))
    expect((await stat(join(folder.current, 'privkey.pem'))).mode & 0o777).toBe(0o640)
  } finally {
    process.umask(before)
  }
})

test('the version before is kept, older ones go, and the same certificate again changes nothing', async () => {
  await using temporary = await temporaryFolder()
  const folder = await CertificateFolder.open(temporary.path, 0o600)
  for (const version of [1, 2, 3]) expect(await folder.put(certificate(version))).toBe(true)
  const target = await readlink(folder.current)
  expect(await folder.put({ ...certificate(3), version: 4 })).toBe(false)
  expect(await readlink(folder.current)).toBe(target)
  expect((await readdir(temporary.path)).sort()).toEqual(['2-0000000000000000', '3-0000000000000000', 'current'])
})

test('what a crash left half-written is cleared at the next start', async () => {
  await using temporary = await temporaryFolder()
  await mkdir(join(temporary.path, '.new-1-aa'))
  const folder = await CertificateFolder.open(temporary.path, 0o600)
  expect(await readdir(temporary.path)).toEqual([])
  expect(await folder.put(certificate(1))).toBe(true)
})

test('a version asks for its reload until it is told that there was one, over restarts', async () => {
  await using temporary = await temporaryFolder()
  const folder = await CertificateFolder.open(temporary.path, 0o600)
  expect(await folder.needsReload()).toBe(false)
  await folder.put(certificate(1))
  expect(await (await CertificateFolder.open(temporary.path, 0o600)).needsReload()).toBe(true)
  await folder.reloaded()
  expect(await (await CertificateFolder.open(temporary.path, 0o600)).needsReload()).toBe(false)
  await folder.put(certificate(2))
  expect(await folder.needsReload()).toBe(true)
})

test('a reader that resolves the link once never meets a key with another chain', async () => {
  await using temporary = await temporaryFolder()
  const folder = await CertificateFolder.open(temporary.path, 0o600)
  await folder.put(certificate(1))
  let writing = true
  const writer = (async () => {
    for (let version = 2; version <= 60; version++) await folder.put(certificate(version))
    writing = false
  })()
  let pairs = 0
  while (writing) {
    const target = join(temporary.path, await readlink(folder.current))
    const texts = await Promise.all(
      ['privkey.pem', 'fullchain.pem'].map((name) => readFile(join(target, name), 'utf8')),
    ).catch(() => undefined)
    if (!texts) continue
    pairs += 1
    expect(/key (\d+)/.exec(texts[0]!)?.[1]).toBe(/chain (\d+)/.exec(texts[1]!)?.[1])
  }
  await writer
  expect(pairs).toBeGreaterThan(0)
})
