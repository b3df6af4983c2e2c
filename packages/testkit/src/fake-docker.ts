import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { type TemporaryFolder, temporaryFolder } from './temporary-folder.ts'

/** A container of the fake. */
export interface FakeContainer {
  id: string
  name: string
  labels: Record<string, string>
  env: string[]
  running: boolean
  /** Absent: it has no health check. */
  health?: 'starting' | 'healthy' | 'unhealthy'
  networkMode: string
  /** Address by network. */
  networks: Record<string, string>
  /** Both streams in order, each line with when it was written, Unix seconds. */
  log: { time: number; line: string }[]
}

/** Something that happened, as the daemon tells it. */
interface FakeEvent {
  Type: 'container'
  Action: string
  Actor: { ID: string; Attributes: Record<string, string> }
  time: number
  timeNano: number
}

/**
 * A Docker daemon over a Unix socket: list by label, inspect, logs, events and stop of containers, with Docker's statuses and
 * streams, whose chunks are cut anywhere. Whatever else is asked for is refused with 403, as a socket proxy does.
 */
export class FakeDocker implements AsyncDisposable {
  readonly containers: FakeContainer[] = []
  /** `METHOD /path` of each request, without the version. */
  readonly requests: string[] = []
  /** The query of each request for events. */
  readonly since: (string | null)[] = []
  readonly #folder: TemporaryFolder
  readonly #events: FakeEvent[] = []
  readonly #listeners = new Set<(event: FakeEvent) => void>()
  readonly #followers = new Set<(id: string, line: string) => void>()
  #server: Server | undefined

  constructor(folder: TemporaryFolder) {
    this.#folder = folder
  }

  /** A running fake. */
  static async start(): Promise<FakeDocker> {
    const fake = new FakeDocker(await temporaryFolder())
    await fake.start()
    return fake
  }

  /** For DOCKER_HOST. */
  get host(): string {
    return `unix://${this.#path}`
  }

  /** How many read events now. */
  get readers(): number {
    return this.#listeners.size
  }

  /** How many follow a log now. */
  get followers(): number {
    return this.#followers.size
  }

  async start(): Promise<void> {
    const server = createServer((request, response) => this.#answer(request, response))
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#path, resolve)
    })
    this.#server = server
  }

  /** The daemon restarts: every stream just ends, containers run on. */
  async stop(): Promise<void> {
    const server = this.#server
    if (!server) return
    this.#server = undefined
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    server.closeAllConnections()
    await closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    await this.#folder[Symbol.asyncDispose]()
  }

  add(container: Partial<FakeContainer> & Pick<FakeContainer, 'id' | 'name'>): FakeContainer {
    const whole = { labels: {}, env: [], running: true, networkMode: 'default', networks: {}, log: [], ...container }
    this.containers.push(whole)
    return whole
  }

  /** Something happens to a container; it is told to whoever listens, and kept for whoever asks with `since`. */
  emit(id: string, action: string): void {
    const now = Date.now()
    const event: FakeEvent = {
      Type: 'container',
      Action: action,
      Actor: { ID: id, Attributes: {} },
      time: Math.floor(now / 1000),
      timeNano: now * 1e6,
    }
    this.#events.push(event)
    for (const listener of this.#listeners) listener(event)
  }

  /** A container writes a line. */
  write(id: string, line: string): void {
    this.containers.find((one) => one.id === id)?.log.push({ time: Date.now() / 1000, line })
    for (const follower of this.#followers) follower(id, line)
  }

  get #path(): string {
    return join(this.#folder.path, 'docker.sock')
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    request.resume()
    const url = new URL(request.url ?? '/', 'http://docker')
    const path = url.pathname.replace(/^\/v1\.\d+/, '')
    this.requests.push(`${request.method} ${path}`)
    const [, name = '', verb] = /^\/containers\/([^/]+)\/(json|logs|stop)$/.exec(path) ?? []
    const container = this.containers.find((one) => one.id.startsWith(name) || one.name === name)
    if (request.method === 'GET' && path === '/containers/json') send(response, 200, this.#list(url))
    else if (request.method === 'GET' && path === '/events') this.#tell(url, response)
    else if (verb === undefined || (verb === 'stop') !== (request.method === 'POST'))
      send(response, 403, { message: 'Forbidden' })
    else if (!container) send(response, 404, { message: `No such container: ${name}` })
    else if (verb === 'json') send(response, 200, inspect(container))
    else if (verb === 'logs') this.#follow(container, url, response)
    else this.#stop(container, response)
  }

  #list(url: URL): unknown {
    const { label = [] } = JSON.parse(url.searchParams.get('filters') ?? '{}') as { label?: string[] }
    const wanted = label.map((text) => text.split('='))
    return this.containers
      .filter(({ labels }) => wanted.every(([name = '', value]) => labels[name] === value))
      .map(({ id, name, labels }) => ({ Id: id, Names: [`/${name}`], Labels: labels }))
  }

  #stop(container: FakeContainer, response: ServerResponse): void {
    if (!container.running) {
      response.writeHead(304).end()
      return
    }
    container.running = false
    response.writeHead(204).end()
    this.emit(container.id, 'die')
  }

  #tell(url: URL, response: ServerResponse): void {
    const since = url.searchParams.get('since')
    this.since.push(since)
    response.writeHead(200, { 'Content-Type': 'application/json' })
    const write = (event: FakeEvent) => cut(response, Buffer.from(`${JSON.stringify(event)}\n`))
    for (const event of this.#events)
      if (event.timeNano / 1e9 >= Number(since ?? Number.POSITIVE_INFINITY)) write(event)
    response.flushHeaders()
    this.#listeners.add(write)
    response.once('close', () => this.#listeners.delete(write))
  }

  #follow({ id, log }: FakeContainer, url: URL, response: ServerResponse): void {
    const since = Number(url.searchParams.get('since') ?? 0)
    response.writeHead(200, { 'Content-Type': 'application/vnd.docker.multiplexed-stream' })
    response.flushHeaders()
    const write = (line: string) => {
      const text = Buffer.from(`${line}\n`)
      const header = Buffer.alloc(8)
      header.writeUInt8(1, 0)
      header.writeUInt32BE(text.length, 4)
      cut(response, Buffer.concat([header, text]))
    }
    for (const { time, line } of log) if (time >= since) write(line)
    const follower = (of: string, line: string) => of === id && write(line)
    this.#followers.add(follower)
    response.once('close', () => this.#followers.delete(follower))
  }
}

/** Two pieces, cut where it hurts. */
function cut(response: ServerResponse, bytes: Buffer): void {
  response.write(bytes.subarray(0, 5))
  response.write(bytes.subarray(5))
}

function send(response: ServerResponse, status: number, json: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(json))
}

function inspect({ id, name, running, health, labels, env, networkMode, networks }: FakeContainer): unknown {
  return {
    Id: id,
    Name: `/${name}`,
    State: { Running: running, ...(health && { Health: { Status: health } }) },
    Config: { Env: env, Labels: labels, Tty: false },
    HostConfig: { NetworkMode: networkMode },
    NetworkSettings: {
      Networks: Object.fromEntries(Object.entries(networks).map(([key, ip]) => [key, { IPAddress: ip }])),
    },
  }
}
