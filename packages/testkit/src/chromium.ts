import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { WebSocket } from 'ws'
import { startDaemon } from './daemon.ts'
import { temporaryFolder } from './temporary-folder.ts'

/** A page that a real browser has loaded. */
export interface BrowserPage {
  /**
   * Runs an async function in the page and returns what it resolves with, by way of JSON; its source travels, so it
   * sees its arguments and the page's globals only. Rejects with what it throws.
   */
  run<Args extends unknown[], Result>(
    program: (...args: Args) => Result | Promise<Result>,
    ...args: Args
  ): Promise<Result>
}

/** A headless Chromium with a profile of its own. */
export interface Chromium extends AsyncDisposable {
  /** Opens a page and waits until it has loaded. */
  open(url: string): Promise<BrowserPage>
}

const flags = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync', '--mute-audio'],
]

/**
 * Starts Chromium, steered by its DevTools protocol. `trusted` are public keys of servers whose certificates it takes
 * though no authority that it knows signed them: SHA-256 of the SPKI, in base64.
 */
export async function startChromium({ trusted = [] }: { trusted?: readonly string[] } = {}): Promise<Chromium> {
  await using resources = new AsyncDisposableStack()
  const profile = resources.use(await temporaryFolder())
  const trust = trusted.length > 0 ? [`--ignore-certificate-errors-spki-list=${trusted.join(',')}`] : []
  const port = join(profile.path, 'DevToolsActivePort')
  resources.use(
    await startDaemon({
      command: 'chromium',
      args: [...flags, ...trust, '--remote-debugging-port=0', `--user-data-dir=${profile.path}`, 'about:blank'],
      isReady: async () => (await readFile(port, 'utf8')).includes('/devtools/'),
    }),
  )
  const [number, path] = (await readFile(port, 'utf8')).trim().split('\n')
  const tools = await devTools(`ws://127.0.0.1:${number}${path}`)
  resources.defer(() => tools.quit())
  const owned = resources.move()
  return {
    async open(url) {
      const { targetId } = await tools.call<{ targetId: string }>('Target.createTarget', { url: 'about:blank' })
      const { sessionId } = await tools.call<{ sessionId: string }>('Target.attachToTarget', {
        targetId,
        flatten: true,
      })
      await tools.call('Page.enable', {}, sessionId)
      const loaded = tools.event('Page.loadEventFired', sessionId)
      await tools.call('Page.navigate', { url }, sessionId)
      await loaded
      return { run: (program, ...args) => run(tools, sessionId, String(program), args) }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function run<Result>(tools: DevTools, sessionId: string, program: string, args: unknown[]): Promise<Result> {
  const expression = `(async () => (${program})(...${JSON.stringify(args)}))()`
  const { result, exceptionDetails } = await tools.call<Evaluated>(
    'Runtime.evaluate',
    { expression, awaitPromise: true, returnByValue: true },
    sessionId,
  )
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
  return result.value as Result
}

interface Evaluated {
  result: { value?: unknown }
  exceptionDetails?: { text: string; exception?: { description?: string } }
}

interface DevTools {
  /** Rejects with the browser's refusal, and when the browser is gone. */
  call<Result>(method: string, params: object, sessionId?: string): Promise<Result>
  event(method: string, sessionId: string): Promise<void>
  /** Closes the browser; resolves when it has hung up. */
  quit(): Promise<void>
}

interface Told {
  id?: number
  result?: unknown
  error?: { message: string }
  method?: string
  sessionId?: string
}

async function devTools(url: string): Promise<DevTools> {
  const socket = new WebSocket(url, { perMessageDeflate: false, maxPayload: 64 * 1024 * 1024 })
  const open = new Map<number, PromiseWithResolvers<unknown>>()
  const waiting = new Map<string, PromiseWithResolvers<void>>()
  let lastId = 0
  socket.on('message', (data: Buffer) => {
    const told = JSON.parse(data.toString()) as Told
    if (told.id === undefined) waiting.get(`${told.sessionId} ${told.method}`)?.resolve()
    else if (told.error) open.get(told.id)?.reject(new Error(told.error.message))
    else open.get(told.id)?.resolve(told.result)
    if (told.id !== undefined) open.delete(told.id)
  })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  socket.once('open', resolve)
  socket.once('error', reject)
  const closed = once(socket, 'close')
  socket.once('close', () => {
    const gone = new Error('Chromium hung up.')
    for (const { reject } of [...open.values(), ...waiting.values()]) reject(gone)
  })
  await promise
  return {
    call<Result>(method: string, params: object, sessionId?: string) {
      const id = ++lastId
      const answer = Promise.withResolvers<unknown>()
      open.set(id, answer)
      socket.send(JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) }))
      return answer.promise as Promise<Result>
    },
    event(method, sessionId) {
      const waits = Promise.withResolvers<void>()
      waiting.set(`${sessionId} ${method}`, waits)
      return waits.promise
    },
    async quit() {
      socket.send(JSON.stringify({ id: ++lastId, method: 'Browser.close' }))
      await closed
    },
  }
}
