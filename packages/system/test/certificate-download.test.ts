import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { eventually } from '@damon/testkit/eventually'
import { createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { expect, it } from 'vitest'
import { startCertifier } from '../src/certifier.ts'
import { damon } from '../src/damon.ts'
import { buildHouse } from '../src/house.ts'

it('damon certs get brings a certificate with its key once, into files for their owner only', {
  timeout: 60_000,
}, async () => {
  await using house = await buildHouse()
  await using hub = await house.startHub()
  const url = hub.ready.url!
  const rights = ['issue:*', 'get:cert-reader/*', 'get:cert/*', 'put:cert/*']
  await using certs = await startCertifier(await house.credential(url, 'certs/one', rights))
  const authority = await createAuthority({ name: 'test', now: Date.now(), days: 2 })
  const pair = await issueLeaf(authority, { names: ['edge.test'], now: Date.now(), days: 1 })
  const connection = await house.connectionFile(url, 'script/one', ['cert:edge'])
  const get = (name: string, out: string, wait = '30s') =>
    damon(['certs', 'get', name, '--out', out, '--wait', wait, '--connection', connection], {})
  const folder = join(house.folder, 'downloaded')
  const getting = get('edge', folder)
  await eventually(async () => expect(await certs.readers('edge')).toHaveLength(1), { deadlineMs: 30_000 })
  await certs.deliver('edge', pair)
  const { code, output } = await getting
  expect({ code, output }).toMatchObject({ code: 0, output: expect.stringContaining('edge (edge.test), good until') })
  expect((await readdir(folder)).toSorted()).toEqual(['combined.pem', 'fullchain.pem', 'privkey.pem'])
  for (const name of await readdir(folder)) expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600)
  const combined = await readFile(join(folder, 'combined.pem'), 'utf8')
  expect(new X509Certificate(combined).checkPrivateKey(createPrivateKey(combined))).toBe(true)
  expect(output).not.toContain('PRIVATE KEY')
  expect(await readFile(join(folder, 'fullchain.pem'), 'utf8')).toBe(pair.chain.trimEnd().concat('\n'))
  // Its reader is gone with it.
  await eventually(async () => expect(await certs.readers('edge')).toEqual([]))
  expect(await get('other', folder)).toMatchObject({ code: 77, output: expect.stringContaining('--can cert:other') })
  expect(await get('edge', folder, '100ms')).toMatchObject({
    code: 69,
    output: expect.stringContaining('is certs running'),
  })
})
