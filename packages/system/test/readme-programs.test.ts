import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { connect } from '@damon/client/connect'
import type { Hub } from '@damon/client/hub'
import { type Chromium, startChromium } from '@damon/testkit/chromium'
import { eventually } from '@damon/testkit/eventually'
import { FakeLavalink } from '@damon/testkit/fake-lavalink'
import { type RunningProgram, type RunningService, startProgram } from '@damon/testkit/process'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { bundleForBrowsers } from '../src/browser-bundle.ts'
import { buildHouse, type House } from '../src/house.ts'
import { installPublished, type PublishedProject } from '../src/published-project.ts'

const page = await readFile(new URL('../../client/README.md', import.meta.url), 'utf8')
/** Every block of code that is a program: its first line names it. */
const programs = new Map(
  [...page.matchAll(/^```(?:ts|js)\n\/\/ (\S+)\n(.*?)^```$/gms)].map(([, name = '', text = '']) => [name, text]),
)
const run = new Set<string>()

let resources: AsyncDisposableStack
let project: PublishedProject
let house: House
let hub: RunningService
/** Somebody who sees what the programs do. */
let witness: Hub
/** Where pages are served. */
let origin: string
let chromium: Chromium
const open: AsyncDisposable[] = []

const rights = ['join:*', 'send:*', 'ask:*', 'get:*', 'put:room/*', 'put:counter/*', 'put:node/*', 'put:node-secret/*']

beforeAll(async () => {
  await using stack = new AsyncDisposableStack()
  project = stack.use(await installPublished(['@types/node', 'zod', 'discord.js', 'shoukaku']))
  for (const [name, text] of programs) await project.write(name, text)
  house = stack.use(await buildHouse())
  const pages = createServer(async ({ url }, response) => {
    const json = url === '/credential.json'
    const script = url === '/page.js'
    response.writeHead(200, { 'content-type': json ? 'application/json' : script ? 'text/javascript' : 'text/html' })
    if (json) response.end(await readFile(await connectionFile('web/page')))
    else if (script) response.end((await bundleForBrowsers(join(project.path, 'page.ts'))).code)
    else response.end('<!doctype html><body><script type="module" src="page.js"></script></body>')
  })
  pages.listen(0, '127.0.0.1')
  await once(pages, 'listening')
  stack.defer(() => pages.closeAllConnections())
  stack.defer(() => void pages.close())
  origin = `http://localhost:${(pages.address() as AddressInfo).port}`
  hub = stack.use(await house.startHub({ HUB_ORIGINS: origin }))
  chromium = stack.use(await startChromium({ trusted: [house.tls.pin] }))
  witness = stack.use(await connect(await house.credential(hub.ready.url ?? '', 'bot/witness', rights)))
  resources = stack.move()
})
afterAll(() => resources?.disposeAsync())
afterEach(async () => {
  for (const resource of open.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

const connectionFile = (sub: string) => house.connectionFile(hub.ready.url ?? '', sub, rights)

/** Starts a program of the page as this subject. */
async function start(name: string, sub: string): Promise<RunningProgram> {
  expect(programs.has(name), `a program ${name} on the page`).toBe(true)
  run.add(name)
  const program = startProgram(join(project.path, name), { DAMON_CONNECTION_FILE: await connectionFile(sub) })
  open.push(program)
  return program
}

/** Runs one that ends by itself, and returns what it said. */
async function complete(name: string, sub: string): Promise<string[]> {
  const program = await start(name, sub)
  const { code } = await program.exited
  expect(code, program.output).toBe(0)
  return program.output.trim().split('\n')
}

test('a service is asked, heard and watched, and leaves in good order', async () => {
  const bot = await start('bot.ts', 'bot/lounge')
  await bot.says('ready')
  const watch = await start('watch.ts', 'bot/watcher')
  await watch.says(`put room/lounge Naima since ${new Date().getUTCFullYear()}`)
  expect(await complete('ask.ts', 'bot/asker')).toEqual([
    'lounge moved 81',
    'lounge moved 92',
    'lounge answered 2',
    '1 of 1 answered.',
  ])
  await bot.says('leaving fra1-07')
  await bot.says('bot/asker plays Blue in Green')
  expect(await complete('legacy.cjs', 'bot/legacy')).toEqual(['room/lounge'])
  // What does not fit the contract reaches no handler.
  const [refused] = await witness.group('bots').request('players.move', { node: 7 })
  expect(refused).toMatchObject({ client: 'lounge', verdict: 'failed', error: { code: 'bad_payload', field: 'node' } })
  await witness.group('bots').send('track.started', { guild: '81' })
  await bot.says('DamonError: title: ')
  bot.signal('SIGTERM')
  expect(await bot.exited).toMatchObject({ code: 0 })
  await watch.says('drop room/lounge')
  watch.signal('SIGTERM')
  expect(await watch.exited).toMatchObject({ code: 0 })
  run.add('contracts.ts')
})

test('who has answers enough, or waited enough, lets the others stop', async () => {
  const reasons: unknown[] = []
  using _there = witness.handle('who.is.there', () => 'a witness')
  using _time = witness.handle(
    'take.your.time',
    (_, { signal }) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => resolve(reasons.push(signal.reason.code)))
      }),
  )
  await witness.join('bots')
  expect(await complete('impatient.ts', 'bot/impatient')).toEqual(['first: a witness', 'gave up: TimeoutError'])
  await eventually(() => expect(reasons).toEqual(['cancelled']))
  await witness.leave('bots')
})

test('two that count at the same time both count', async () => {
  const said = await Promise.all([complete('count.ts', 'bot/one'), complete('count.ts', 'bot/two')])
  expect(said.flat()).toContain('visits: 2')
  expect((await witness.get('counter/visits'))?.value).toBe(2)
})

test('a web page shows what it watches', async () => {
  run.add('page.ts')
  await using room = witness.announce('room/attic', { song: 'Blue Train' })
  await room.ready()
  const shown = await chromium.open(`${origin}/`)
  await eventually(async () =>
    expect(await shown.run(() => document.body.textContent)).toContain('room/attic: Blue Train'),
  )
})

test('a bot has its nodes from the records', async () => {
  const lavalink = await FakeLavalink.start()
  open.push({ [Symbol.asyncDispose]: async () => void (await lavalink.kill()) })
  const address = { host: '127.0.0.1', port: lavalink.port, secure: false }
  await using secret = witness.announce('node-secret/fra1', { password: lavalink.password })
  await using node = witness.announce('node/fra1', {
    ...{ state: 'ready', reasons: [], since: Date.now(), address, version: '4.2.2', api: 'v4', load: null },
  })
  await Promise.all([secret.ready(), node.ready()])
  const bot = await start('music.ts', 'bot/music')
  await bot.says('fra1 is ready')
  await node.update({
    ...{ state: 'exhausted', reasons: [], since: Date.now(), address, version: '4.2.2', api: 'v4', load: null },
  })
  await bot.says('fra1 is exhausted')
})

test('their types are right', async () => {
  const files = [...programs.keys()].filter((name) => name.endsWith('.ts'))
  const options = {
    ...{ strict: true, noEmit: true, skipLibCheck: true, allowImportingTsExtensions: true, types: ['node'] },
    ...{ module: 'nodenext', target: 'es2022', lib: ['es2024', 'esnext.disposable', 'dom', 'dom.iterable'] },
  }
  expect(await project.typeErrors(files, options)).toBe('')
})

test('there is no program on the page that no test runs', () => {
  expect([...page.matchAll(/^```/gm)]).toHaveLength(2 * programs.size)
  expect([...run].sort()).toEqual([...programs.keys()].sort())
})
