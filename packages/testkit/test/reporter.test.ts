import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
const reporter = fileURLToPath(new URL('../src/reporter.ts', import.meta.url))
const root = fileURLToPath(new URL('./fixtures/reporter', import.meta.url))

/** The last line of a real run of the fixture and its exit code; `run` chooses what goes wrong. */
function lastLine(run: string, include = 'tests.ts'): Promise<{ line: string | undefined; code: number }> {
  const args = [vitest, 'run', '--root', root, '--dir', root, '--reporter', 'default', '--reporter', reporter]
  const { PATH, HOME } = process.env
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [...args, include], { env: { PATH, HOME, RUN: run } }, (_, stdout) => {
      resolve({ line: stdout.trimEnd().split('\n').at(-1), code: child.exitCode ?? -1 })
    })
  })
}

it.each([
  ['tests that pass and are skipped', '', '2 passed, 0 failed, 1 skipped', 0],
  ['a test that fails', 'failed', '2 passed, 1 failed', 1],
  ['a suite that cannot prepare', 'suite', '2 passed, 1 failed, 2 skipped', 1],
  ['an error that nobody handles', 'unhandled', '3 passed, 1 failed, 1 skipped', 1],
  ['a file that cannot be loaded', 'file', '0 passed, 1 failed', 1],
])('counts %s', async (_, run, line, code) => {
  expect(await lastLine(run)).toEqual({ line, code })
})

it('counts a run without any test as failed', async () => {
  expect(await lastLine('', 'nothing-here')).toEqual({ line: '0 passed, 1 failed', code: 1 })
})
