import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { parseCredential } from '@damon/trust/credential'
import { expect, test } from 'vitest'
import { privateFolder } from '../src/files.ts'
import { homeAt } from '../src/home.ts'
import { createKeys, readKeys } from '../src/keys.ts'
import { ensureAuthority } from '../src/up/authority.ts'
import { connectionNames, ensureConnections } from '../src/up/connections.ts'
import { lockHome } from '../src/up/lock.ts'
import { checkPort } from '../src/up/port.ts'

const day = 86_400_000

async function newHome() {
  const folder = await temporaryFolder()
  const home = homeAt(join(folder.path, 'home'))
  await privateFolder(home.root)
  return { home, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
}

test('the authority stays, and the certificate of the hub is renewed with a third of its life left', async () => {
  await using place = await newHome()
  const { ca } = place.home
  const now = Date.now()
  const authority = await ensureAuthority(place.home, now)
  const leaf = await readFile(ca.hubCertificate, 'utf8')
  for (const file of [ca.key, ca.hubKey, ca.certificate]) expect((await stat(file)).mode & 0o777).toBe(0o600)

  expect(await ensureAuthority(place.home, now + 50 * day)).toBe(authority)
  expect(await readFile(ca.hubCertificate, 'utf8')).toBe(leaf)
  expect(await ensureAuthority(place.home, now + 61 * day)).toBe(authority)
  expect(await readFile(ca.hubCertificate, 'utf8')).not.toBe(leaf)
})

test('a damaged certificate or a key that does not fit is made again', async () => {
  await using place = await newHome()
  const { ca } = place.home
  const authority = await ensureAuthority(place.home, Date.now())
  const key = await readFile(ca.hubKey, 'utf8')
  await writeFile(ca.hubKey, await readFile(ca.key, 'utf8'))
  expect(await ensureAuthority(place.home, Date.now())).toBe(authority)
  expect(await readFile(ca.hubKey, 'utf8')).not.toBe(key)
  await writeFile(ca.certificate, 'damaged')
  expect(await ensureAuthority(place.home, Date.now())).not.toBe(authority)
})

test('connection files stay while they hold, follow the hub to another port, and are renewed in time', async () => {
  await using place = await newHome()
  const { home } = place
  await createKeys(home.keys, { aud: 'damon:dev', dev: true })
  const keys = await readKeys(home.keys, 'op-1')
  expect(keys.list.dev).toBe(true)
  const now = Date.now()
  const ca = await ensureAuthority(home, now)
  const made = async (url: string, at: number) => {
    const paths = await ensureConnections(home, keys, { url, ca }, at)
    const texts = await Promise.all(connectionNames.map((name) => readFile(paths[name], 'utf8')))
    return texts.map((text) => parseCredential(text))
  }

  const first = await made('wss://localhost:1', now)
  expect(await made('wss://localhost:1', now + 50 * day)).toEqual(first)
  const moved = await made('wss://localhost:2', now)
  expect(moved).toEqual(first.map((credential) => ({ ...credential, urls: ['wss://localhost:2'] })))
  const renewed = await made('wss://localhost:2', now + 61 * day)
  for (const [i, { token }] of renewed.entries()) expect(token).not.toBe(moved[i]!.token)

  await writeFile(home.connection('bot'), 'damaged')
  expect((await made('wss://localhost:2', now + 61 * day))[0]!.token).not.toBe(renewed[0]!.token)
  expect((await stat(home.connection('bot'))).mode & 0o777).toBe(0o600)
})

test('a home that others may enter is refused', async () => {
  await using place = await newHome()
  await chmod(place.home.root, 0o755)
  await expect(privateFolder(place.home.root)).rejects.toMatchObject({
    code: 'too_open',
    message: expect.stringContaining(`chmod 700 ${place.home.root}`),
  })
})

test('one home has one `damon up`, until that has ended in whatever way', async () => {
  await using place = await newHome()
  const source = new URL('../src/up/lock.ts', import.meta.url)
  const program = `
    const { lockHome } = await import(${JSON.stringify(source.href)})
    lockHome(${JSON.stringify(place.home)})
    console.log('locked')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  expect(() => lockHome(place.home)).toThrow(
    expect.objectContaining({ code: 'already_running', message: expect.stringContaining(`pid ${child.pid}`) }),
  )
  child.kill('SIGKILL')
  await once(child, 'exit')
  using lock = lockHome(place.home)
  expect(lock).toBeDefined()
  expect((await readFile(place.home.pid, 'utf8')).trim()).toBe(String(process.pid))
})

test('a taken port is told with the variable that changes it', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  await expect(checkPort(port)).rejects.toMatchObject({
    code: 'port_taken',
    message: `Port ${port} is taken. Set DAMON_PORT to another one; 0 takes any that is free.`,
  })
  server.close()
  await once(server, 'close')
  await expect(checkPort(port)).resolves.toBeUndefined()
})
