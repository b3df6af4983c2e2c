import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, test } from 'vitest'
import { parseCommand, runCommand } from '../src/reload.ts'

for (const text of [
  'systemctl reload nginx',
  'docker kill -s HUP nginx',
  '["docker", "kill", "-s", "HUP", "my proxy"]',
  '["sh", "-c", "printf %s \\"$CERTIFICATE\\" >> \\"$0\\""]',
]) {
  test(`${text} reaches the program word by word`, async () => {
    await using folder = await temporaryFolder()
    const told = join(folder.path, 'told')
    const words = parseCommand(text)
    const [program = '', ...args] = words
    const before = process.env.PATH
    if (program !== 'sh') {
      const script = `#!/bin/sh\nfor word in "$@"; do printf '%s\\n' "$word" >> ${told}; done\n`
      await writeFile(join(folder.path, program), script)
      await chmod(join(folder.path, program), 0o755)
      process.env.PATH = `${folder.path}:${before}`
    }
    const options = { env: { CERTIFICATE: 'edge' }, timeoutMs: 10_000, signal: new AbortController().signal }
    try {
      await runCommand(program === 'sh' ? [...words, told] : words, options)
    } finally {
      process.env.PATH = before
    }
    const seen = await readFile(told, 'utf8')
    expect(program === 'sh' ? seen : seen.trimEnd().split('\n')).toEqual(program === 'sh' ? 'edge' : args)
  })
}
