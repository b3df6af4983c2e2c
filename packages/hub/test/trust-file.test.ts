import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from '@damon/runtime/logger'
import { eventually } from '@damon/testkit/eventually'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { generateKey } from '@damon/trust/keys'
import { signTrustList, type TrustList } from '@damon/trust/trust-list'
import { expect, it } from 'vitest'
import { TrustFile } from '../src/trust-file.ts'

const aud = 'damon:test'

it('takes a newer list of the same root, and refuses every other one while the current one stays', async () => {
  await using folder = await temporaryFolder()
  const path = join(folder.path, 'trust.jws')
  const [root, other, issuer] = await Promise.all([generateKey(), generateKey(), generateKey()])
  const issuers = [{ kid: 'op-1', x: issuer.publicKey.x, sub: '*', can: ['*'] }]
  const make = (list: Partial<TrustList>, key = root) =>
    signTrustList(key.privateKey, { aud, seq: 5, issuers, ...list })
  const first = await make({})
  await writeFile(path, first)
  const lines: string[] = []
  const log = {
    info: () => undefined,
    error: ({ err }: { err: Error }, message: string) => void lines.push(`${message}: ${err.message}`),
  } as unknown as Logger
  const changed: string[] = []
  const current = { text: first, list: { aud, seq: 5, issuers } }
  using file = new TrustFile({
    ...{ path, root: root.publicKey, aud, dev: false, current, log },
    changed: (text) => changed.push(text),
  })
  await file.look()
  expect([changed, lines]).toEqual([[], []])

  const bad = [
    await make({ seq: 4 }),
    await make({ seq: 5, revoked: { subs: ['bot/*'] } }),
    await make({ seq: 6 }, other),
    await make({ seq: 6, aud: 'damon:other' }),
    await make({ seq: 6, dev: true }),
    'nonsense',
    '',
  ]
  for (const text of bad) {
    await writeFile(path, text)
    await file.look()
    // Told once, however often it is looked at.
    await file.look()
  }
  await rm(path)
  await file.look()
  await file.look()
  expect(changed).toEqual([])
  expect(file.text).toBe(first)
  expect(lines).toHaveLength(bad.length + 1)
  for (const line of lines) expect(line).toContain('the trust list of the file is refused: the one before stays')
  expect(lines[0]).toContain('Its seq is 4, that of the current one 5.')

  const next = await make({ seq: 6, revoked: { ids: ['lost'] } })
  // By its own look, at a file that was put in place in one step.
  await writeFile(`${path}.new`, `${next}\n`)
  await rename(`${path}.new`, path)
  await eventually(() => expect(changed).toEqual([next]))
  expect(file.text).toBe(next)
})
