import { X509Certificate } from 'node:crypto'
import { readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { certificates } from '@damon/client/certificates-node'
import { connect } from '@damon/client/connect'
import { eventually } from '@damon/testkit/eventually'
import { FakeLavalink } from '@damon/testkit/fake-lavalink'
import { startProgram } from '@damon/testkit/process'
import { type TemporaryFolder, temporaryFolder } from '@damon/testkit/temporary-folder'
import { parseCredential } from '@damon/trust/credential'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { damon, type RunningUp, startUp } from '../src/damon.ts'
import { serviceScript } from '../src/house.ts'

/** What a file in the root of the workspace can import. */
const workspaceModules = fileURLToPath(new URL('../../../node_modules', import.meta.url))
const passphrase = 'a long passphrase of the root, 5f0c'
/** Processes start slowly on a busy machine. */
const patience = { deadlineMs: 25_000 }
const password = 'the password of a node, 81d3'

vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 })

let folder: TemporaryFolder
let lavalink: FakeLavalink
let env: Record<string, string>
let commandEnv: Record<string, string>
let up: RunningUp
/** Everything that was printed, for the search for secrets. */
let printed = ''
/** Secrets that no file shows. */
const secrets = [passphrase, password]

beforeAll(async () => {
  folder = await temporaryFolder()
  lavalink = await FakeLavalink.start({ password })
  env = {
    DAMON_HOME: join(folder.path, 'home'),
    DAMON_PORT: '0',
    DAMON_ROOT_PASSPHRASE: passphrase,
    LAVALINK_URL: lavalink.url,
    LAVALINK_PASSWORD: password,
    POLL_MS: '100',
    LOG_LEVEL: 'trace',
  }
  commandEnv = { DAMON_HOME: env.DAMON_HOME! }
  up = await startUp(env)
})

afterAll(async () => {
  await up?.[Symbol.asyncDispose]()
  await lavalink?.[Symbol.asyncDispose]()
  await folder?.[Symbol.asyncDispose]()
})

async function run(...args: string[]) {
  const outcome = await damon(args, commandEnv)
  printed += outcome.output
  return outcome
}

async function json(...args: string[]) {
  const { code, output } = await run(...args, '--json')
  expect({ code, output }).toMatchObject({ code: 0 })
  return JSON.parse(output)
}

test('says what runs where, on a certificate by the authority that it names', async () => {
  const { ca, connections, services, url } = up.told
  expect(services.map(({ name }) => name)).toEqual(['hub', 'certs', 'sidecar'])
  for (const text of [url, ca, ...Object.values(connections), ...services.map(({ pid }) => String(pid))])
    expect(up.output).toContain(text)
  for (const file of Object.values(connections)) expect((await stat(file)).mode & 0o777).toBe(0o600)
  // A sidecar is ready once it has looked at its Lavalink.
  for (const { metrics } of services)
    await eventually(async () => expect((await fetch(`${metrics}/ready`)).status).toBe(200), patience)
  const authority = await readFile(ca, 'utf8')
  const { hostname, port } = new URL(url)
  const socket = connectTls({ host: hostname, port: Number(port), servername: hostname, ca: authority })
  const leaf = await new Promise<X509Certificate>((resolve, reject) => {
    socket.once('secureConnect', () => resolve(socket.getPeerX509Certificate()!))
    socket.once('error', reject)
  })
  socket.destroy()
  expect(leaf.verify(new X509Certificate(authority).publicKey)).toBe(true)
})

test('status shows two workers at least', async () => {
  const workers = await json('status')
  expect(workers.length).toBeGreaterThanOrEqual(2)
  expect(workers[0]).toMatchObject({ bus: 'cluster', reachable: true })
  const { code, output } = await run('status')
  expect({ code, output }).toEqual({ code: 0, output: expect.stringContaining('WORKER') })
})

test('services shows who is connected', async () => {
  const services = (await json('services')).map((one: { service: string; instance: string }) => one.service)
  expect(services).toEqual(expect.arrayContaining(['certs', 'operator', 'sidecar']))
  expect((await run('services')).output).toContain('certs/local')
})

test('nodes shows the node of the Lavalink that was configured', async () => {
  await eventually(async () => expect(await json('nodes')).toMatchObject([{ id: 'local', state: 'ready' }]), patience)
  expect((await run('nodes')).output).toContain(new URL(lavalink.url).port)
})

test('certs shows the local certificate, and who serves it', async () => {
  await using hub = await connect(up.told.connections.bot)
  await using reader = certificates(hub, 'local')
  const { key } = await reader.ready()
  secrets.push(...bodyOf(key))
  await eventually(async () => {
    expect(await json('certs')).toMatchObject([{ id: 'local', issuer: 'local', readers: [{ delivered: true }] }])
  }, patience)
  expect((await run('certs')).output).toContain('localhost')
})

test('the lines that it prints connect and receive, as they stand', async () => {
  const lines = up.output.split('\n')
  const first = lines.findIndex((line) => line.trim().startsWith('import '))
  const last = lines.findIndex((line) => line.trim().startsWith('for await'))
  const snippet = lines.slice(first, last + 1).map((line) => line.trim())
  expect(snippet).toHaveLength(5)
  const file = join(folder.path, 'hello.ts')
  await writeFile(file, snippet.join('\n'))
  await symlink(workspaceModules, join(folder.path, 'node_modules'))
  await using hello = startProgram(file, {})
  await hello.says('put service/bot/local/')

  expect(await run('send', 'group/bots', 'hello', 'world')).toMatchObject({ code: 0 })
  await hello.says('operator/local says world')
  expect(await json('send', 'client/bot/local', 'hello', '{"a":1}')).toMatchObject({ sent: true })
  await hello.says('operator/local says { a: 1 }')
  expect(await run('send', 'group/bots', 'hello', 'you there', '--any')).toMatchObject({ code: 0 })
  await hello.says('operator/local says you there')
})

test('ask shows the verdict on each receiver, and fails unless all answered', async () => {
  await using one = await connect(up.told.connections.bot, { groups: ['bots'] })
  await using two = await connect(up.told.connections.bot, { groups: ['bots'] })
  one.handle('double', async (value) => Number(value) * 2)
  two.on('error', () => {})
  const failing = two.handle('double', async () => {
    throw new Error('no numbers today')
  })
  // A bot of an earlier test that was killed is away for a moment.
  await eventually(async () =>
    expect((await one.list('service/bot/')).filter(({ state }) => state === 'live')).toHaveLength(2),
  )
  const { code, output } = await run('ask', 'group/bots', 'double', '21', '--deadline', '5s')
  expect(code).toBe(1)
  expect(output).toMatch(/bot\/local +[0-9a-f]{16} +answered +42/)
  expect(output).toMatch(/bot\/local +[0-9a-f]{16} +failed +handler_failed: no numbers today/)
  expect(output).toContain('1 of 2 receivers did not answer. [not_answered]')

  failing[Symbol.dispose]()
  two.handle('double', async () => 0)
  expect(await json('ask', 'group/bots', 'double', '21', '--any')).toHaveLength(1)
  expect(await run('ask', 'group/nobody', 'double')).toMatchObject({
    code: 69,
    output: expect.stringContaining('[no_receiver]'),
  })
})

test('watch shows what is there and what changes, until it is interrupted', async () => {
  await using watch = startProgram(serviceScript('cli'), commandEnv, ['watch', 'service/'])
  await watch.says('put     service/certs/local/')
  {
    await using bot = await connect(up.told.connections.bot)
    await watch.says(`put     service/bot/local/${bot.session}`)
  }
  await watch.says('drop    service/bot/local/')
  watch.signal('SIGINT')
  expect((await watch.exited).code).toBe(0)
  printed += watch.output
})

test('what the token does not allow is refused with its code', async () => {
  expect(await run('watch', 'node-secret/')).toMatchObject({ code: 77, output: expect.stringContaining('[denied]') })
  const sidecar = ['--connection', up.told.connections.sidecar]
  expect(await run('services', ...sidecar)).toMatchObject({ code: 77, output: expect.stringContaining('[denied]') })
})

test('a file that token mint made connects, without a word on where', async () => {
  const { file, urls } = await json('token', 'mint', 'bot/second', '--profile', 'bot')
  expect(urls).toEqual([up.told.url])
  await using hub = await connect(file)
  expect(hub.subject).toBe('bot/second')
  const inspected = await run('token', 'inspect', file)
  expect(inspected).toMatchObject({ code: 0, output: expect.stringContaining('valid') })
})

test('a second `damon up` on the same home is told of the first', async () => {
  const second = await damon(['up'], env)
  printed += second.output
  expect(second).toMatchObject({ code: 73, output: expect.stringContaining(`pid ${up.pid}`) })
})

test('a service that is killed comes back, the hub at the same place', async () => {
  const pid = (name: string) => up.told.services.find((service) => service.name === name)!.pid
  process.kill(pid('hub'), 'SIGKILL')
  await up.says('hub is back')
  await eventually(async () => {
    const services = (await json('services')).map((one: { service: string }) => one.service)
    expect(services).toEqual(expect.arrayContaining(['certs', 'sidecar']))
  }, patience)
  process.kill(pid('certs'), 'SIGKILL')
  await up.says('certs is back')
})

test('Ctrl-C ends everything, and a second start takes up what the first left', async () => {
  const workers: { pid: number }[] = await json('status')
  const before = await readFile(up.told.connections.operator, 'utf8')
  const pids = [...up.output.matchAll(/pid (\d+)\)/g)].map(([, pid]) => Number(pid))
  const all = [...pids, ...workers.map(({ pid }) => pid), ...up.told.services.map(({ pid }) => pid)]
  up.signal('SIGINT')
  expect(await up.exited).toEqual({ code: 0, signal: null })
  for (const pid of all) await eventually(async () => expect(await alive(pid)).toBe(false))
  printed += up.output + (await logged())

  await using again = await startUp(env)
  const { token } = parseCredential(await readFile(again.told.connections.operator, 'utf8'))
  expect(token).toBe(parseCredential(before).token)
  expect(await json('status')).toHaveLength(workers.length)
  again.signal('SIGTERM')
  expect(await again.exited).toEqual({ code: 0, signal: null })
  printed += again.output + (await logged())
})

test('Ctrl-C ends a start too', async () => {
  const home = join(folder.path, 'early')
  await using early = startProgram(serviceScript('cli'), { ...env, DAMON_HOME: home }, ['up'])
  await eventually(async () => expect(await readFile(join(home, 'logs', 'hub.log'), 'utf8')).not.toBe(''), patience)
  early.signal('SIGINT')
  expect(await early.exited).toEqual({ code: 0, signal: null })
  expect(early.output).not.toContain('Damon is running')
})

test('a second Ctrl-C kills what does not end', async () => {
  await using again = await startUp(env)
  const { pid } = again.told.services[0]!
  process.kill(pid, 'SIGSTOP')
  let ended = false
  void again.exited.then(() => {
    ended = true
  })
  await eventually(() => {
    again.signal('SIGINT')
    expect(ended).toBe(true)
  }, patience)
  expect(await again.exited).toEqual({ code: 1, signal: null })
  expect(again.output).toContain('[interrupted]')
  expect(await alive(pid)).toBe(false)
  printed += again.output + (await logged())
})

test('nothing that was printed or logged holds a secret', async () => {
  const { home } = up.told
  for (const name of ['bot', 'sidecar', 'operator', 'certs', 'bot-second']) {
    const { token, identity } = parseCredential(await readFile(join(home, 'connections', `${name}.json`), 'utf8'))
    secrets.push(token, identity!.d)
  }
  secrets.push(JSON.parse(await readFile(join(home, 'keys', 'issuer-op-1.json'), 'utf8')).key.d)
  secrets.push((await readFile(join(home, 'certs', 'store-key'), 'utf8')).trim())
  for (const file of ['keys/root.pem', 'ca/authority-key.pem', 'ca/hub-key.pem'])
    secrets.push(...bodyOf(await readFile(join(home, file), 'utf8')))
  const everything = printed + (await logged())
  for (const line of ['"level":"debug"', '"service":"hub"', '"service":"certs"', '"service":"sidecar"'])
    expect(everything.includes(line)).toBe(true)
  // A failure must not print what it found.
  expect(secrets.filter((secret) => everything.includes(secret)).length).toBe(0)
  expect(secrets.every((secret) => secret.length >= 16)).toBe(true)
})

/** All that the services logged since the last start. */
async function logged(): Promise<string> {
  const folder = join(up.told.home, 'logs')
  const logs = (await readdir(folder)).filter((name) => name.endsWith('.log'))
  return (await Promise.all(logs.map((name) => readFile(join(folder, name), 'utf8')))).join('')
}

/** The lines of a PEM that are the key itself. */
function bodyOf(pem: string): string[] {
  return pem.split('\n').filter((line) => line.length >= 16 && !line.startsWith('-----'))
}

/** Whether a process still does something; one that ended and was not waited for does not. */
async function alive(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'State:\tX')
  return !/^State:\s+[XZ]/m.test(status)
}
