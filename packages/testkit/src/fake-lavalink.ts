import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Dialect, dialectInfo, dialectStats, type LoadOutcome, loadBody } from './fake-lavalink-dialects.ts'

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
}

const MiB = 1024 * 1024
const buildTime = 1_757_000_000_000

/**
 * A Lavalink 4 as a sidecar sees it: the routes, headers, bodies and refusals of Lavalink 4.2.2 over real HTTP,
 * with `mood` and `stats` to change while it runs. It plays nothing.
 */
export class FakeLavalink implements AsyncDisposable {
  readonly password: string
  readonly requests: { path: string; status: number }[] = []
  mood: Mood = { kind: 'well' }
  stats: Omit<Stats, 'uptime'> = {
    players: 0,
    playingPlayers: 0,
    memory: { free: 180 * MiB, used: 76 * MiB, allocated: 256 * MiB, reservable: 1024 * MiB },
    cpu: { cores: 2, systemLoad: 0.12, lavalinkLoad: 0.02 },
  }
  /** Further fields of `/v4/info` and `/v4/stats`, as a newer Lavalink or a plugin would add. */
  extra: Record<string, unknown> = {}
  /** How `/loadtracks` goes for an identifier. */
  load: (identifier: string) => LoadOutcome = () => 'track'
  /** What `/routeplanner/status` answers: nothing (no planner), a body, or status 500. */
  planner: Record<string, unknown> | 'failing' | undefined
  version: string
  readonly dialect: Dialect
  #host: string
  #prefix: string
  #port: number
  #server: Server | undefined
  #startedAt = 0

  constructor(options: FakeLavalinkOptions = {}) {
    this.password = options.password ?? 'youshallnotpass'
    this.dialect = options.dialect ?? 'lavalink-4'
    this.version = options.version ?? (this.dialect === 'lavalink-3' ? '3.7.13' : '4.2.2')
    this.#host = options.host ?? '127.0.0.1'
    this.#port = options.port ?? 0
    this.#prefix = options.prefix ?? ''
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

  /** Listens; after `stop` or `kill` on the same port again, with its uptime at zero. */
  async start(): Promise<void> {
    if (this.#server) return
    const server = createServer((request, response) => this.#answer(request, response))
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#port, this.#host, resolve)
    })
    this.#port = (server.address() as AddressInfo).port
    this.#startedAt = performance.now()
    this.#server = server
  }

  /** Ends as on SIGTERM: takes no new connection, lets open answers finish. */
  async stop(): Promise<void> {
    await this.#close((server) => server.closeIdleConnections())
  }

  /** Ends as on SIGKILL: every connection breaks at once. */
  async kill(): Promise<void> {
    await this.#close((server) => server.closeAllConnections())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }

  async #close(hangUp: (server: Server) => void): Promise<void> {
    const server = this.#server
    if (!server) return
    this.#server = undefined
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    hangUp(server)
    await closed
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    request.resume()
    const url = new URL(request.url ?? '/', 'http://localhost')
    const path = url.pathname
    response.once('close', () =>
      this.requests.push({ path, status: response.writableFinished ? response.statusCode : 0 }),
    )
    const nodelink = this.dialect.startsWith('nodelink')
    if (!nodelink) response.setHeader('Lavalink-Api-Version', this.dialect === 'lavalink-3' ? '3' : '4')
    const given = request.headers.authorization
    if (given !== this.password) {
      response.writeHead(given === undefined || nodelink ? 401 : 403).end()
      return
    }
    const { mood } = this
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
        const timer = setTimeout(() => send(response, this.#route(url)), mood.ms)
        response.once('close', () => clearTimeout(timer))
        return
      }
      case 'well':
        send(response, this.#route(url))
    }
  }

  #route({ pathname, searchParams }: URL): Reply {
    const { dialect } = this
    const route = pathname.startsWith(this.#prefix) ? pathname.slice(this.#prefix.length) : ''
    if (route === '/version') return { status: 200, text: this.version }
    const [, api, name = ''] = /^\/(v[34])\/(.*)$/.exec(route) ?? []
    if (api !== (dialect === 'lavalink-3' ? 'v3' : 'v4')) return failure(pathname, 404)
    switch (name) {
      case 'info':
        return { status: 200, json: { ...dialectInfo(dialect, infoOf(this.version)), ...this.extra } }
      case 'stats': {
        const uptime = Math.floor(performance.now() - this.#startedAt)
        const stats = dialectStats(dialect, { frameStats: null, ...this.stats, uptime })
        return { status: 200, json: { ...stats, ...this.extra } }
      }
      case 'loadtracks': {
        const identifier = searchParams.get('identifier') ?? ''
        return { status: 200, json: loadBody(dialect, this.load(identifier), identifier) }
      }
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
