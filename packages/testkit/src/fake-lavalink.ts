import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Dialect, dialectInfo, dialectStats, type LoadOutcome, loadBody } from './fake-lavalink-dialects.ts'
import type { JournalEntry } from './fake-player.ts'
import { FakeSessions, refuse } from './fake-sessions.ts'
import { decodeTrack, loadTracks } from './fake-tracks.ts'

/** How the fake behaves towards every caller, until it is changed. */
export type Mood =
  | { kind: 'well' }
  /** Every route answers with this status and Lavalink's error body. */
  | { kind: 'failing'; status: number }
  /** Answers are right, but come this many ms late. */
  | { kind: 'slow'; ms: number }
  /** Requests are taken and never answered. */
  | { kind: 'hanging' }
  /** Status 200 with a body that is not what the route promises: other JSON, no JSON, or one that does not end. */
  | { kind: 'lying'; body: 'other-json' | 'no-json' | 'endless' }

/** What `/v4/stats` tells, in its own units: bytes, ms, 0 to 1. */
export interface Stats {
  players: number
  playingPlayers: number
  uptime: number
  memory: { free: number; used: number; allocated: number; reservable: number }
  cpu: { cores: number; systemLoad: number; lavalinkLoad: number }
}

/** Where and as what the fake listens; `prefix` puts every route below a path, as a reverse proxy would. */
export interface FakeLavalinkOptions {
  host?: string
  /** 0, the default, takes a free port, which a later `start()` takes again. */
  port?: number
  password?: string
  version?: string
  prefix?: string
  /** Whose REST API it speaks; Lavalink 4 where nothing is said. */
  dialect?: Dialect
  /** How often players tell their position, ms; Lavalink's own default is 5,000. */
  playerUpdateMs?: number
}

const MiB = 1024 * 1024
const buildTime = 1_757_000_000_000

/**
 * A Lavalink 4 as sidecars and bots see it: the routes, the WebSocket, headers, bodies and refusals of Lavalink 4.2.2
 * over real HTTP, with `mood`, `load` and `stats` to change while it runs. Its players play by the clock, in silence.
 */
export class FakeLavalink implements AsyncDisposable {
  readonly password: string
  readonly requests: { path: string; status: number }[] = []
  mood: Mood = { kind: 'well' }
  /** WebSockets that were asked for, granted or not. */
  upgrades = 0
  /** When the music of each guild began and ended here, since the fake was made. */
  readonly journal: JournalEntry[] = []
  /** Players of real sessions are added to these. */
  stats: Omit<Stats, 'uptime'> = {
    players: 0,
    playingPlayers: 0,
    memory: { free: 180 * MiB, used: 76 * MiB, allocated: 256 * MiB, reservable: 1024 * MiB },
    cpu: { cores: 2, systemLoad: 0.12, lavalinkLoad: 0.02 },
  }
  /** Further fields of `/v4/info` and `/v4/stats`, as a newer Lavalink or a plugin would add. */
  extra: Record<string, unknown> = {}
  /** How it goes when an identifier is loaded or begins to play; what plays already goes on. */
  load: (identifier: string) => LoadOutcome = () => 'track'
  /** What `/routeplanner/status` answers: nothing (no planner), a body, or status 500. */
  planner: Record<string, unknown> | 'failing' | undefined
  version: string
  readonly dialect: Dialect
  #host: string
  #prefix: string
  #port: number
  #playerUpdateMs: number
  #server: Server | undefined
  #sessions: FakeSessions | undefined
  /** Handshakes that were not answered yet. */
  readonly #handshakes = new Set<Duplex>()
  #startedAt = 0

  constructor(options: FakeLavalinkOptions = {}) {
    this.password = options.password ?? 'youshallnotpass'
    this.dialect = options.dialect ?? 'lavalink-4'
    this.version = options.version ?? (this.dialect === 'lavalink-3' ? '3.7.13' : '4.2.2')
    this.#host = options.host ?? '127.0.0.1'
    this.#port = options.port ?? 0
    this.#prefix = options.prefix ?? ''
    this.#playerUpdateMs = options.playerUpdateMs ?? 5_000
  }

  /** A running fake. */
  static async start(options: FakeLavalinkOptions = {}): Promise<FakeLavalink> {
    const fake = new FakeLavalink(options)
    await fake.start()
    return fake
  }

  get port(): number {
    return this.#port
  }

  get url(): string {
    return `http://${this.#host}:${this.#port}${this.#prefix}`
  }

  /** Its WebSocket clients and their players. Throws unless it runs. */
  get sessions(): FakeSessions {
    if (!this.#sessions) throw new Error('This Lavalink does not run.')
    return this.#sessions
  }

  /** Listens; after `stop` or `kill` on the same port again, with its uptime at zero. */
  async start(): Promise<void> {
    if (this.#server) return
    const server = createServer((request, response) => this.#answer(request, response))
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#port, this.#host, resolve)
    })
    this.#port = (server.address() as AddressInfo).port
    server.on('upgrade', (request, socket: Duplex, head: Buffer) => this.#upgrade(request, socket, head))
    this.#startedAt = performance.now()
    this.#server = server
    this.#sessions = new FakeSessions({
      stats: () => this.#stats(),
      load: (identifier) => this.load(identifier),
      note: (entry) => void this.journal.push(entry),
      playerUpdateMs: this.#playerUpdateMs,
      lie: () => this.#lie(),
    })
  }

  /** Ends as on SIGTERM: takes no new connection, closes sessions with 1001, lets open answers finish. */
  async stop(): Promise<void> {
    this.#sessions?.end('politely')
    await this.#close((server) => server.closeIdleConnections())
  }

  /** Ends as on SIGKILL: every connection breaks at once. */
  async kill(): Promise<void> {
    this.#sessions?.end('at once')
    await this.#close((server) => server.closeAllConnections())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }

  async #close(hangUp: (server: Server) => void): Promise<void> {
    const server = this.#server
    if (!server) return
    this.#server = undefined
    this.#sessions = undefined
    for (const socket of this.#handshakes) socket.destroy()
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    hangUp(server)
    await closed
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', 'http://localhost')
    const path = url.pathname
    response.once('close', () =>
      this.requests.push({ path, status: response.writableFinished ? response.statusCode : 0 }),
    )
    const nodelink = this.dialect.startsWith('nodelink')
    if (!nodelink) response.setHeader('Lavalink-Api-Version', this.dialect === 'lavalink-3' ? '3' : '4')
    const given = request.headers.authorization
    if (given !== this.password) {
      request.resume()
      response.writeHead(given === undefined || nodelink ? 401 : 403).end()
      return
    }
    const { mood } = this
    const reply = () => whole(request, (text) => send(response, this.#route(request.method ?? 'GET', url, text)))
    if (mood.kind !== 'well' && mood.kind !== 'slow') request.resume()
    switch (mood.kind) {
      case 'hanging':
        return
      case 'lying':
        lie(response, mood.body)
        return
      case 'failing':
        send(response, failure(path, mood.status))
        return
      case 'slow': {
        const timer = setTimeout(reply, mood.ms)
        response.once('close', () => clearTimeout(timer))
        return
      }
      case 'well':
        reply()
    }
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname
    socket.on('error', () => {})
    this.upgrades++
    this.#handshakes.add(socket)
    socket.once('close', () => this.#handshakes.delete(socket))
    const { mood } = this
    const take = () => {
      if (this.#handshakes.delete(socket)) this.#sessions?.accept(request, socket, head)
    }
    if (request.headers.authorization !== this.password) refuse(socket, 401)
    else if (path !== `${this.#prefix}/v4/websocket`) refuse(socket, 404)
    else if (mood.kind === 'failing') refuse(socket, mood.status)
    else if (mood.kind === 'slow') setTimeout(take, mood.ms).unref()
    else if (mood.kind !== 'hanging') take()
  }

  /** What a WebSocket message is replaced by; silence is null. */
  #lie(): string | null | undefined {
    if (this.mood.kind === 'hanging') return null
    if (this.mood.kind !== 'lying') return undefined
    return this.mood.body === 'other-json' ? '{"op":"news","players":"many"}' : '<html><body>It works!</body></html>'
  }

  #stats(): Stats {
    const { players, playingPlayers } = this.#sessions?.counts ?? { players: 0, playingPlayers: 0 }
    const uptime = Math.floor(performance.now() - this.#startedAt)
    const counts = { players: this.stats.players + players, playingPlayers: this.stats.playingPlayers + playingPlayers }
    return { ...this.stats, ...counts, uptime }
  }

  #route(method: string, { pathname, searchParams }: URL, text: string): Reply {
    const { dialect } = this
    const route = pathname.startsWith(this.#prefix) ? pathname.slice(this.#prefix.length) : ''
    if (route === '/version') return { status: 200, text: this.version }
    const [, api, name = ''] = /^\/(v[34])\/(.*)$/.exec(route) ?? []
    if (api !== (dialect === 'lavalink-3' ? 'v3' : 'v4')) return failure(pathname, 404)
    if (name.startsWith('sessions/')) {
      const body = parse(text)
      if (body === undefined && text !== '') return failure(pathname, 400)
      const reply = this.sessions.route(method, name.slice('sessions/'.length), searchParams, body)
      return reply.status >= 400 ? failure(pathname, reply.status) : reply
    }
    switch (name) {
      case 'info':
        return { status: 200, json: { ...dialectInfo(dialect, infoOf(this.version)), ...this.extra } }
      case 'stats': {
        const stats = dialectStats(dialect, { frameStats: null, ...this.#stats() })
        return { status: 200, json: { ...stats, ...this.extra } }
      }
      case 'loadtracks': {
        const identifier = searchParams.get('identifier') ?? ''
        const outcome = this.load(identifier)
        const found = outcome === 'track' && dialect !== 'lavalink-3'
        return { status: 200, json: found ? loadTracks(identifier) : loadBody(dialect, outcome, identifier) }
      }
      case 'decodetrack':
        return { status: 200, json: decodeTrack(searchParams.get('encodedTrack') ?? '') }
      case 'routeplanner/status':
        return this.#planner(pathname)
      default:
        return failure(pathname, 404)
    }
  }

  #planner(path: string): Reply {
    if (this.planner === 'failing') return failure(path, 500)
    if (this.dialect === 'nodelink-2') return failure(path, 404)
    if (this.planner !== undefined) return { status: 200, json: this.planner }
    return this.dialect === 'lavalink-4' ? { status: 204 } : { status: 200, json: { class: null, details: null } }
  }
}

interface Reply {
  status: number
  text?: string
  json?: unknown
}

/** Hands over the whole body once it came; what breaks on the way is nobody's business. */
function whole(request: IncomingMessage, take: (text: string) => void): void {
  const pieces: Buffer[] = []
  request.on('data', (piece: Buffer) => pieces.push(piece))
  request.on('error', () => {})
  request.once('end', () => take(Buffer.concat(pieces).toString()))
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function send(response: ServerResponse, { status, text, json }: Reply): void {
  const type = text === undefined ? 'application/json' : 'text/plain;charset=UTF-8'
  const body = text ?? (json === undefined ? undefined : JSON.stringify(json))
  response.writeHead(status, body === undefined ? {} : { 'Content-Type': type }).end(body)
}

function failure(path: string, status: number): Reply {
  const error = STATUS_CODES[status] ?? 'Unknown'
  const message = status === 404 ? `No static resource ${path.slice(1)}.` : error
  return { status, json: { timestamp: Date.now(), status, error, message, path } }
}

function lie(response: ServerResponse, body: 'other-json' | 'no-json' | 'endless'): void {
  if (body === 'other-json') {
    send(response, { status: 200, json: { players: 'many', version: 'yes' } })
  } else if (body === 'no-json') {
    send(response, { status: 200, text: '<html><body>It works!</body></html>' })
  } else {
    const piece = Buffer.alloc(64 * 1024, ' ')
    const pour = (): void => {
      while (!response.destroyed && response.write(piece));
    }
    response.writeHead(200, { 'Content-Type': 'application/json' }).on('drain', pour)
    pour()
  }
}

function infoOf(version: string): Record<string, unknown> {
  const [core = '', preRelease = null] = version.split('-')
  const [major = 4, minor = 0, patch = 0] = core.split('.').map(Number)
  return {
    version: { semver: version, major, minor, patch, preRelease, build: null },
    buildTime,
    git: { branch: 'HEAD', commit: '6d5d1d1', commitTime: buildTime },
    jvm: '18.0.2.1',
    lavaplayer: '2.2.4',
    sourceManagers: ['youtube', 'soundcloud', 'http'],
    filters: ['volume', 'equalizer', 'karaoke', 'timescale', 'tremolo', 'vibrato', 'rotation'],
    plugins: [{ name: 'youtube-plugin', version: '1.18.0' }],
  }
}
