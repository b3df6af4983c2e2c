import { cp, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, test } from 'vitest'
import { keyBytes, Store } from '../src/store.ts'
import { storeKey } from './acme-setup.ts'

const otherKey = storeKey.replace('00', 'ff')

test('what is stored comes back, is not readable on disk, and belongs to its owner only', async () => {
  await using folder = await temporaryFolder()
  const store = await Store.open(join(folder.path, 'store'), storeKey)
  await store.write('certificate/edge/1', 'a private key')
  expect(Buffer.from((await store.read('certificate/edge/1'))!).toString()).toBe('a private key')
  const path = join(folder.path, 'store/certificate/edge/1.sealed')
  expect((await readFile(path)).includes('private')).toBe(false)
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect((await stat(join(folder.path, 'store'))).mode & 0o777).toBe(0o700)
  expect(await store.read('certificate/edge/2')).toBeUndefined()
  expect(await store.list('certificate/edge')).toEqual(['1'])
})

test('two writes of the same content share nothing', async () => {
  await using folder = await temporaryFolder()
  const store = await Store.open(folder.path, storeKey)
  await store.write('a', 'same')
  const first = await readFile(join(folder.path, 'a.sealed'))
  await store.write('a', 'same')
  expect((await readFile(join(folder.path, 'a.sealed'))).equals(first)).toBe(false)
})

test('a flipped bit, a moved file, a cut file and a wrong key are all refused', async () => {
  await using folder = await temporaryFolder()
  const store = await Store.open(folder.path, storeKey)
  await store.write('a', 'content')
  const path = join(folder.path, 'a.sealed')
  const sealed = await readFile(path)
  const damaged = { code: 'store_damaged' }
  await writeFile(join(folder.path, 'b.sealed'), sealed)
  await expect(store.read('b')).rejects.toMatchObject(damaged)
  for (let position = 0; position < sealed.length; position += 7) {
    const flipped = Buffer.from(sealed)
    flipped[position]! ^= 1
    await writeFile(path, flipped)
    await expect(store.read('a')).rejects.toMatchObject(damaged)
  }
  for (const length of [0, 5, 20, 41, sealed.length - 1]) {
    await writeFile(path, sealed.subarray(0, length))
    await expect(store.read('a')).rejects.toMatchObject(damaged)
  }
  await writeFile(path, sealed)
  await expect((await Store.open(folder.path, otherKey)).read('a')).rejects.toMatchObject(damaged)
  expect(await store.read('a')).toBeDefined()
})

test('what a crash left half-written is cleared at a later start and never read, what another writes now is left alone', async () => {
  await using folder = await temporaryFolder()
  const store = await Store.open(folder.path, storeKey)
  await store.write('certificate/edge/1', 'old')
  const half = join(folder.path, 'certificate/edge/1.sealed.99.new')
  await writeFile(half, 'half')
  await Store.open(folder.path, storeKey)
  expect(await readdir(join(folder.path, 'certificate/edge'))).toHaveLength(2)
  await utimes(half, new Date(0), new Date(0))
  const again = await Store.open(folder.path, storeKey)
  expect(await readdir(join(folder.path, 'certificate/edge'))).toEqual(['1.sealed'])
  expect(Buffer.from((await again.read('certificate/edge/1'))!).toString()).toBe('old')
})

test('a name cannot leave the folder', async () => {
  await using folder = await temporaryFolder()
  const store = await Store.open(folder.path, storeKey)
  for (const name of ['../a', 'a/../../b', '/etc/passwd', '', '.', 'A'])
    await expect(store.read(name)).rejects.toThrow(TypeError)
})

test('a key is 32 bytes in hex, base64 or base64url', () => {
  const bytes = Buffer.from(storeKey, 'hex')
  for (const text of [storeKey, bytes.toString('base64'), bytes.toString('base64url')]) {
    expect(Buffer.from(keyBytes(text)!).equals(bytes)).toBe(true)
  }
  for (const text of ['', 'password', storeKey.slice(2), `${storeKey}00`]) expect(keyBytes(text)).toBeUndefined()
})

test('a name can be made once only, whoever is quicker', async () => {
  await using folder = await temporaryFolder()
  const [one, other] = [await Store.open(folder.path, storeKey), await Store.open(folder.path, storeKey)]
  const made = await Promise.all([one.create('lease/a', 'one'), other.create('lease/a', 'other')])
  expect(made.filter(Boolean)).toHaveLength(1)
  expect(Buffer.from((await one.read('lease/a'))!).toString()).toBe(made[0] ? 'one' : 'other')
  expect(await readdir(join(folder.path, 'lease'))).toEqual(['a.sealed'])
})

test('a copy of the folder is a backup: it opens with the same key, with another one it does not', async () => {
  await using folder = await temporaryFolder()
  const store = await Store.open(join(folder.path, 'store'), storeKey)
  await store.write('certificate/edge/1', 'a private key')
  await cp(join(folder.path, 'store'), join(folder.path, 'backup'), { recursive: true })
  await store.write('certificate/edge/2', 'a later one')
  const restored = await Store.open(join(folder.path, 'backup'), storeKey)
  expect(await restored.list('certificate/edge')).toEqual(['1'])
  expect(Buffer.from((await restored.read('certificate/edge/1'))!).toString()).toBe('a private key')
  const wrong = await Store.open(join(folder.path, 'backup'), otherKey)
  await expect(wrong.read('certificate/edge/1')).rejects.toMatchObject({ code: 'store_damaged' })
})
