import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, test } from 'vitest'
import { damon } from './scripted-terminal.ts'

test.each([
  { args: ['send'], says: "missing required argument 'to'" },
  { args: ['send', 'bots', 'hello'], says: 'group/NAME' },
  { args: ['send', 'group/bots', 'Hello World'], says: 'An event has' },
  { args: ['watch', 'node'.repeat(20)], says: 'ends with /' },
  { args: ['ask', 'group/bots', 'ping', '--deadline', 'soon'], says: '90d' },
  { args: ['token', 'mint', 'bot'], says: 'SERVICE/INSTANCE' },
  { args: ['token', 'mint', 'bot/one'], says: '--profile' },
  { args: ['token', 'mint', 'bot/one', '--profile', 'root'], says: 'Allowed choices' },
  { args: ['token', 'mint', 'bot/one', '--url', 'ws://hub'], says: 'wss://' },
  { args: ['token', 'mint', 'bot/one', '--join', '--out', 'x'], says: 'cannot be used with' },
  { args: ['satus'], says: 'Did you mean status?' },
  { args: ['status', '--jsno'], says: '--json' },
])('$args is refused as a wrong command line', async ({ args, says }) => {
  const { code, out, err } = await damon(args)
  expect({ code, out }).toEqual({ code: 64, out: '' })
  expect(err).toContain(says)
})

test('an error is JSON where JSON was asked for', async () => {
  const { err } = await damon(['send', 'bots', 'hello', '--json'])
  expect(JSON.parse(err)).toEqual({ error: { code: 'bad_argument', message: expect.stringContaining('group/NAME') } })
})

test('help is no error, and lists the exit codes', async () => {
  const { code, out } = await damon(['--help'])
  expect(code).toBe(0)
  expect(out).toContain('73  something is in the way')
})

test('no command shows the help, as an error', async () => {
  const { code, err } = await damon([])
  expect(code).toBe(64)
  expect(err).toContain('Usage: damon')
})

test('without a connection file it says where it looked and what makes one', async () => {
  await using folder = await temporaryFolder()
  const { code, err } = await damon(['status'], { cwd: folder.path })
  expect(code).toBe(78)
  expect(err).toContain(join(folder.path, '.damon', 'connections', 'operator.json'))
  expect(err).toContain('npm start')
  expect(err).toContain('[no_connection]')
})

test('the home is the workspace that the command is used in', async () => {
  await using folder = await temporaryFolder()
  await writeFile(join(folder.path, 'pnpm-workspace.yaml'), '')
  const { err } = await damon(['status'], { cwd: join(folder.path, 'packages', 'client') })
  expect(err).toContain(join(folder.path, '.damon', 'connections'))
})

test('a connection file that is named but not there is told with who named it', async () => {
  const named = await damon(['status', '--connection', 'nowhere.json'])
  expect(named).toMatchObject({ code: 78, err: expect.stringMatching(/nowhere\.json.*--connection/) })
  const variable = await damon(['status'], { env: { DAMON_CONNECTION_FILE: '/nowhere.json' } })
  expect(variable).toMatchObject({ code: 78, err: expect.stringContaining('DAMON_CONNECTION_FILE') })
})

test('a connection file that others may read, or that is none, is refused', async () => {
  await using folder = await temporaryFolder()
  const file = join(folder.path, 'bot.json')
  await writeFile(file, '{"damon":1}', { mode: 0o600 })
  expect(await damon(['status', '--connection', file])).toMatchObject({
    code: 78,
    err: expect.stringMatching(/bot\.json: .*\[bad_credential\]/),
  })
  await chmod(file, 0o640)
  expect(await damon(['status', '--connection', file])).toMatchObject({
    code: 78,
    err: expect.stringContaining(`chmod 600 ${file}`),
  })
})

test('a mint without keys says how to make them', async () => {
  await using folder = await temporaryFolder()
  const { code, err } = await damon(['token', 'mint', 'bot/a', '--profile', 'bot', '--url', 'wss://h'], {
    cwd: folder.path,
  })
  expect(code).toBe(78)
  expect(err).toContain('damon keys init')
})
