import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { eventually } from '@damon/testkit/eventually'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, test } from 'vitest'
import type { Wanted } from '../src/wanted.ts'
import { WantedFile } from '../src/wanted-file.ts'

const content = (...ids: string[]) =>
  JSON.stringify({
    issuers: { own: { type: 'local' } },
    certificates: Object.fromEntries(ids.map((id) => [id, { issuer: 'own', names: [`${id}.test`] }])),
  })

async function setup(path: string) {
  const file = join(path, 'certificates.yaml')
  await writeFile(file, content('one'))
  const taken: string[][] = []
  const wanted = await WantedFile.open(
    file,
    async ({ certificates }: Wanted) => void taken.push(Object.keys(certificates)),
  )
  return { file, taken, wanted }
}

test('a file that is not valid changes nothing and is told; the next valid one is taken', async () => {
  await using folder = await temporaryFolder()
  const { file, taken, wanted } = await setup(folder.path)
  expect(await wanted.reload()).toBe('same')
  await writeFile(file, content('one', 'Two'))
  await expect(wanted.reload()).rejects.toMatchObject({ code: 'bad_certificates_file' })
  expect(wanted.problem).toContain('certificates.Two')
  expect(Object.keys(wanted.current.certificates)).toEqual(['one'])
  await writeFile(file, content('one'))
  expect(await wanted.reload()).toBe('changed')
  expect(wanted.problem).toBeUndefined()
  await writeFile(file, content('one', 'two'))
  expect(await wanted.reload()).toBe('changed')
  expect(taken).toEqual([['one'], ['one', 'two']])
})

test('a file that is written, or replaced as a whole, is taken by itself', async () => {
  await using folder = await temporaryFolder()
  const { file, taken, wanted } = await setup(folder.path)
  const told: unknown[] = []
  using _watch = wanted.watch((outcome) => void told.push(outcome))
  await writeFile(file, content('two'))
  await eventually(() => expect(taken).toEqual([['two']]))
  await writeFile(`${file}.new`, content('three'))
  await rename(`${file}.new`, file)
  await eventually(() => expect(taken).toEqual([['two'], ['three']]))
  await writeFile(file, 'certificates: [')
  await eventually(() => expect(told.at(-1)).toMatchObject({ code: 'bad_certificates_file' }))
  expect(Object.keys(wanted.current.certificates)).toEqual(['three'])
})

test('what cannot be taken over is a problem of the file, and is tried again with the next reading', async () => {
  await using folder = await temporaryFolder()
  const file = join(folder.path, 'certificates.yaml')
  await writeFile(file, content('one'))
  const failures = [new Error('no issuer')]
  const wanted = await WantedFile.open(file, async () => {
    const failure = failures.shift()
    if (failure) throw failure
  })
  await writeFile(file, content('two'))
  await expect(wanted.reload()).rejects.toThrow('no issuer')
  expect(Object.keys(wanted.current.certificates)).toEqual(['one'])
  expect(await wanted.reload()).toBe('changed')
})

test('a file that is not there is an error that names it', async () => {
  await using folder = await temporaryFolder()
  const file = join(folder.path, 'none.yaml')
  await expect(WantedFile.open(file, async () => {})).rejects.toThrow(`CERTS_CONFIG_FILE names ${file}`)
})
