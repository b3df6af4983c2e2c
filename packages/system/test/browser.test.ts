import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { connect } from '@damon/client/connect'
import { type BrowserPage, type Chromium, startChromium } from '@damon/testkit/chromium'
import { eventually } from '@damon/testkit/eventually'
import type { RunningService } from '@damon/testkit/process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type BrowserBundle, bundleForBrowsers } from '../src/browser-bundle.ts'
import { buildHouse, type House } from '../src/house.ts'

/** What the page's module gives to the programs below. */
type Sdk = typeof import('@damon/client/connect')
declare const sdk: Sdk

const rights = ['join:*', 'send:group/*', 'ask:group/*', 'get:*', 'put:thing/*']

let resources: AsyncDisposableStack
let bundle: BrowserBundle
let house: House
let hub: RunningService
let chromium: Chromium
/** Two origins with the same page; the hub lists the first. */
let listed: string
let unlisted: string

async function serve(stack: AsyncDisposableStack, code: string): Promise<string> {
  const server = createServer((request, response) => {
    const isScript = request.url === '/sdk.js'
    response.writeHead(200, { 'content-type': isScript ? 'text/javascript' : 'text/html' })
    response.end(
      isScript ? code : '<script type="module">import * as sdk from "./sdk.js"; globalThis.sdk = sdk</script>',
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  stack.defer(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://localhost:${(server.address() as AddressInfo).port}`
}

beforeAll(async () => {
  await using stack = new AsyncDisposableStack()
  bundle = await bundleForBrowsers(fileURLToPath(import.meta.resolve('@damon/client/connect')))
  house = stack.use(await buildHouse())
  listed = await serve(stack, bundle.code)
  unlisted = await serve(stack, bundle.code)
  hub = stack.use(await house.startHub({ HUB_ORIGINS: listed }))
  chromium = stack.use(await startChromium({ trusted: [house.tls.pin] }))
  resources = stack.move()
})
afterAll(() => resources?.disposeAsync())

async function page(origin: string): Promise<BrowserPage> {
  return chromium.open(`${origin}/`)
}

const credential = (sub: string) => house.credential(hub.ready.url ?? '', sub, rights)

test('a page loads at most 30 KiB of it, compressed, and nothing that is for Node', () => {
  expect(bundle.gzip).toBeLessThanOrEqual(30 * 1024)
  expect(bundle.modules.filter((id) => /-node\.ts$|transport-ws|\/ws\//.test(id))).toEqual([])
  expect(bundle.modules.some((id) => id.endsWith('transport-browser.ts'))).toBe(true)
})

for (const codec of ['binary', 'json'] as const) {
  test(`a page sends, hears, asks, answers, watches and announces (${codec})`, async () => {
    await using node = await connect(await credential('bot/node'), { groups: [`nodes-${codec}`] })
    const heard: unknown[] = []
    node.receive('greeting', (value, { from }) => heard.push([from, value]))
    node.handle('double', (value) => Number(value) * 2)
    const watch = node.watch(`thing/${codec}/`)
    const web = await page(listed)
    const seen = web.run(
      async (credential, codec) => {
        const hub = await sdk.connect(credential, { codec, groups: [`pages-${codec}`] })
        const asked = new Promise((resolve) => {
          hub.handle('who', (value, { from }) => {
            resolve(from)
            return { page: location.origin, bytes: value instanceof Uint8Array ? [...value] : [] }
          })
        })
        await hub.group(`nodes-${codec}`).send('greeting', { from: 'a page' })
        const answers = await hub.group(`nodes-${codec}`).request('double', 21)
        const announcement = hub.announce(`thing/${codec}/page`, { state: 'here' })
        await announcement.ready()
        const watch = hub.watch(`thing/${codec}/`)
        await watch.ready()
        const entries = [...watch.entries].map(([key, { value }]) => [key, value])
        const result = { answers: answers.map(({ client, value }) => [client, value]), entries, asked: await asked }
        await hub.close()
        return { ...result, state: hub.state }
      },
      await credential('web/page'),
      codec,
    )
    await eventually(() => expect([...watch.entries.keys()]).toEqual([`thing/${codec}/page`]))
    const [answer] = await node.group(`pages-${codec}`).request('who', new Uint8Array([0, 255]))
    expect(answer).toMatchObject({ service: 'web', client: 'page', value: { page: listed, bytes: [0, 255] } })
    expect(await seen).toEqual({
      answers: [['node', 42]],
      entries: [[`thing/${codec}/page`, { state: 'here' }]],
      asked: 'bot/node',
      state: 'closed',
    })
    expect(heard).toEqual([['web/page', { from: 'a page' }]])
    await eventually(() => expect(watch.entries.size).toBe(0))
  })
}

test('a page of an origin that is not listed is not let in', async () => {
  const web = await page(unlisted)
  const reason = await web.run(
    async (credential) => {
      let hub: Awaited<ReturnType<Sdk['open']>> | undefined
      const change = await new Promise<{ state: string; reason?: string }>((resolve) => {
        void sdk.open(credential, { onState: resolve }).then((opened) => {
          hub = opened
        })
      })
      await hub?.close()
      return [change.state, change.reason]
    },
    await credential('web/stranger'),
  )
  expect(reason).toEqual(['connecting', 'unreachable'])
})

test('a page comes back by itself when the worker that held it is killed', async () => {
  await using operator = await connect(await credential('bot/operator'))
  const web = await page(listed)
  await web.run(
    async (credential) => {
      const hub = await sdk.connect(credential, { groups: ['survivors'], backoff: { baseMs: 20, maxMs: 200 } })
      const states: string[] = []
      hub.on('state', ({ state }) => states.push(state))
      hub.handle('states', () => states)
    },
    await credential('web/survivor'),
  )
  const record = await eventually(async () => {
    const [found] = await operator.list('service/web/survivor/')
    expect(found).toBeDefined()
    return found!
  })
  const { worker } = record.value as { worker: number }
  const statuses = await operator.group('hubs').request('hub.status')
  const held = statuses
    .map(({ value }) => value as { origin: number; pid: number })
    .find(({ origin }) => origin === worker)
  process.kill(held?.pid ?? 0, 'SIGKILL')
  await eventually(async () => {
    const answers = await operator.group('survivors').request('states')
    expect(answers).toHaveLength(1)
    const states = answers[0]?.value as string[]
    expect([states[0], states.at(-1)]).toEqual(['reconnecting', 'connected'])
  })
})
