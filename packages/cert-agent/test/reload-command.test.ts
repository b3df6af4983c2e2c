import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, test } from 'vitest'
import { parseCommand, runCommand } from '../src/reload.ts'

const never = new AbortController().signal
const options = { env: { CERTIFICATE: 'edge' }, timeoutMs: 10_000, signal: never }

/** Node with a script, which needs no shell. */
const script = (text: string) => [process.execPath, '-e', text]

test.each([
  ['systemctl reload nginx', ['systemctl', 'reload', 'nginx']],
  ['  a\t b ', ['a', 'b']],
  ['["sh", "-c", "echo a b"]', ['sh', '-c', 'echo a b']],
  ['["a", 1]', []],
  ['["a"', []],
  ['', []],
])('%j is read as %j', (text, command) => {
  expect(parseCommand(text)).toEqual(command)
})

test('the command gets its variables and none of ours', async () => {
  await using folder = await temporaryFolder()
  const path = join(folder.path, 'env.json')
  process.env.DAMON_JOIN = 'a secret'
  try {
    const text = `require('fs').writeFileSync(${JSON.stringify(path)}, JSON.stringify(process.env))`
    await runCommand(script(text), options)
  } finally {
    delete process.env.DAMON_JOIN
  }
  const env = JSON.parse(await readFile(path, 'utf8'))
  expect(Object.keys(env).sort()).toEqual(['CERTIFICATE', 'HOME', 'PATH'])
})

test('a command that fails, or is not there, is an error with what it printed', async () => {
  await expect(runCommand(script('console.error("no such unit"); process.exit(3)'), options)).rejects.toMatchObject({
    message: expect.stringContaining('ended with 3'),
    output: 'no such unit\n',
  })
  await expect(runCommand(['/no/such/program'], options)).rejects.toMatchObject({
    message: '/no/such/program cannot be run',
    cause: { code: 'ENOENT' },
  })
})

test('a command that hangs is ended together with what it started', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  // What it starts, and holds a connection as long as it lives, does not listen to SIGTERM.
  const { port } = server.address() as AddressInfo
  const sleeper = `process.on('SIGTERM', () => {}); require('net').connect(${port}, '127.0.0.1')`
  const text = `
    require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(sleeper)}])
    setInterval(() => {}, 1000)`
  const controller = new AbortController()
  const running = runCommand(script(text), { ...options, signal: controller.signal })
  running.catch(() => {})
  const [socket] = (await once(server, 'connection')) as [Socket]
  socket.on('error', () => {})
  const closed = once(socket.resume(), 'close')
  controller.abort()
  await expect(running).rejects.toMatchObject({ message: expect.stringContaining('was given up') })
  await closed
  server.close()
})

test('a command that takes too long is ended', async () => {
  const late = runCommand(script('setInterval(() => {}, 1000)'), { ...options, timeoutMs: 100 })
  await expect(late).rejects.toMatchObject({ message: expect.stringContaining('was not done within 100 ms') })
})
