import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { connect } from '@damon/client/connect'
import type { Watch } from '@damon/client/watch'
import { nodeRecord } from '@damon/protocol/records'
import { FakeLavalink } from '@damon/testkit/fake-lavalink'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { startActor } from './actor.ts'
import { serviceScript } from './house.ts'

// `npm run demo`: an audio node is announced, fails, comes back, is drained and retired, in processes of their own.

/** Time to read between two scenes, ms. */
const pauseMs = Number(process.env.DEMO_PAUSE_MS ?? 2_000)
const botScript = fileURLToPath(new URL('../../client/examples/main.ts', import.meta.url))
const key = 'node/demo'
const ending = new AbortController()
let scenes = 0

async function play(): Promise<void> {
  console.log(
    'Damon: one audio node from its first to its last day. All runs on this machine, and nothing of it stays.',
  )
  await using folder = await temporaryFolder()

  await scene('`damon up` makes keys and certificates, and starts a hub of two workers on one port.')
  const home = { DAMON_HOME: folder.path, DAMON_PORT: '0' }
  await using up = startActor(serviceScript('cli'), { args: ['up', '--json'], env: home })
  const { url, connections } = (await orEnd(up.ready)) as { url: string; connections: Record<string, string> }
  say('hub', `listens at ${url}`)
  await using operator = await connect(connections.operator, { name: 'demo', signal: ending.signal })
  const nodes = operator.watch('node/')
  nodes.on('change', tellChanges(nodes))

  await scene('A bot connects; all it was given is a connection file. It knows no audio node.')
  const { promise: playing, resolve: speaks } = Promise.withResolvers<void>()
  const hear = (line: string): void => {
    say('bot', line)
    if (line.startsWith('DISCORD_TOKEN')) speaks()
  }
  await using bot = startActor(botScript, { args: [connections.bot ?? ''], hear })
  await orEnd(Promise.race([playing, bot.ended.then(() => Promise.reject(new Error('The bot ended.')))]))

  await scene('A Lavalink starts, and a sidecar beside it. The bot was not told, and has it.')
  await using lavalink = await FakeLavalink.start()
  const silence = (): void => {
    lavalink.stats = { ...lavalink.stats, players: 0, playingPlayers: 0 }
  }
  ending.signal.addEventListener('abort', silence)
  await using sidecar = startActor(serviceScript('sidecar'), {
    env: {
      DAMON_CONNECTION_FILE: connections.sidecar ?? '',
      LAVALINK_URL: lavalink.url,
      LAVALINK_PASSWORD: lavalink.password,
      NODE_ID: 'demo',
      POLL_MS: '250',
      // No bot of the demonstration comes back to a session.
      RESUME_MS: '0',
    },
  })
  await reaches(nodes, 'ready')

  await scene('Two guilds play music on it: the bots hear of the load.')
  lavalink.stats = { ...lavalink.stats, players: 2, playingPlayers: 2 }
  await reaches(nodes, 'ready', 2)

  await scene('Lavalink crashes. Its sidecar makes sure, then says so.')
  await lavalink.kill()
  await reaches(nodes, 'unreachable')

  await scene('It is back, and so is the music.')
  await lavalink.start()
  await reaches(nodes, 'ready', 2)

  await scene('The sidecar is told to stop (SIGTERM). It drains: the bots are asked to move, the last song may end.')
  sidecar.signal('SIGTERM')
  await reaches(nodes, 'draining')
  await pause()
  say('Lavalink', 'the last song ends')
  silence()
  await reaches(nodes, 'gone')
  say('sidecar', `ended with exit code ${await orEnd(sidecar.ended)}`)

  await scene('That was all. `npm start` keeps a hub running, and says how to connect to it.')
}

function say(who: string, what: string): void {
  console.log(`   ${who.padEnd(8)}  ${what}`)
}

async function scene(title: string): Promise<void> {
  if (scenes > 0) await pause()
  console.log(`\n${++scenes}. ${title}`)
}

/** Rejects when the demonstration shall end. */
async function pause(): Promise<void> {
  await sleep(pauseMs, undefined, { signal: ending.signal })
}

/** The same, for anything else that takes time. */
async function orEnd<T>(promise: Promise<T>): Promise<T> {
  const { promise: end, reject } = Promise.withResolvers<never>()
  const abort = (): void => reject(ending.signal.reason)
  ending.signal.addEventListener('abort', abort)
  if (ending.signal.aborted) abort()
  try {
    return await Promise.race([promise, end])
  } finally {
    ending.signal.removeEventListener('abort', abort)
  }
}

function stateOf(nodes: Watch): { state: string; reasons: string[]; players?: number | undefined } {
  const entry = nodes.entries.get(key)
  if (!entry) return { state: 'gone', reasons: [] }
  const { state, reasons, load } = nodeRecord.parse(entry.value)
  return { state, reasons, players: load?.players }
}

/** Resolves when the node's record has this state and, if it matters, tells of so many players. */
async function reaches(nodes: Watch, state: string, players?: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const look = (): void => {
    const now = stateOf(nodes)
    if (now.state === state && (players === undefined || now.players === players)) resolve()
  }
  using _listening = nodes.on('change', look)
  look()
  await orEnd(promise)
}

/** Says each state once, however often the record is written. */
function tellChanges(nodes: Watch): (change: { reason?: string }) => void {
  let said = ''
  return ({ reason }) => {
    const { state, reasons } = stateOf(nodes)
    const text = [`${key} is ${state}`, ...(state === 'gone' ? [`dropped as ${reason}`] : reasons)].join(': ')
    if (text !== said) say('hub', text)
    said = text
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => ending.abort(new Error(`Stopped by ${signal}.`)))
}
try {
  await play()
} catch (error) {
  if (!ending.signal.aborted) throw error
  console.log('\nStopped.')
}
