import { chmod, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, test } from 'vitest'
import { CertificateFolder } from '../src/folder.ts'
import { findOwner, isOwner } from '../src/owner.ts'

test('an owner is named or numbered, whole or by half', async () => {
  await using folder = await temporaryFolder()
  const files = { users: join(folder.path, 'passwd'), groups: join(folder.path, 'group') }
  await writeFile(files.users, 'root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\n')
  await writeFile(files.groups, 'root:x:0:\nssl-cert:x:110:www-data\n')
  expect(await findOwner('www-data', files)).toEqual({ uid: 33, gid: -1 })
  expect(await findOwner('root:ssl-cert', files)).toEqual({ uid: 0, gid: 110 })
  expect(await findOwner(':ssl-cert', files)).toEqual({ uid: -1, gid: 110 })
  expect(await findOwner('1000:1001', files)).toEqual({ uid: 1000, gid: 1001 })
  await expect(findOwner('nginx', files)).rejects.toThrow('CERT_OWNER names the user nginx')
  expect(['', 'a b', 'a:b:c', '-1'].filter(isOwner)).toEqual([])
})

test('files and the folders on the way to them belong to whom they are for', async () => {
  await using folder = await temporaryFolder()
  await chmod(folder.path, 0o755)
  // Only root may give files away; anybody may give them to himself.
  const mine = { uid: process.getuid!(), gid: process.getgid!() }
  const owner = mine.uid === 0 ? { uid: 33, gid: 33 } : mine
  const path = join(folder.path, 'edge')
  const certificates = await CertificateFolder.open(path, 0o640, owner)
  const dates = { notBefore: new Date(0), notAfter: new Date(1) }
  const fingerprint = '0'.repeat(64)
  await certificates.put({ key: 'key', chain: 'chain', fingerprint, version: 1, names: ['edge.test'], ...dates })
  const inside = (await readdir(certificates.current)).map((name) => join(certificates.current, name))
  expect(inside).toHaveLength(3)
  for (const one of [path, `${certificates.current}/.`, ...inside]) {
    const { uid, gid } = await stat(one)
    expect({ uid, gid }).toEqual(owner)
  }
})
