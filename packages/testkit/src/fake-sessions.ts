import { randomBytes } from 'node:crypto'
import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import type { LoadOutcome } from './fake-lavalink-dialects.ts'
import { FakePlayer, type JournalEntry, type PlayerUpdate } from './fake-player.ts'

/** What the sessions need of their Lavalink. */
export interface SessionsHome {
  stats(): object
  load(identifier: string): LoadOutcome
  note(entry: JournalEntry): void
  /** How often a player tells its position, ms. */
  playerUpdateMs: number
  /** What is sent in place of every message; undefined to send what is true, null to send nothing. */
  lie(): string | null | undefined
}

/** An answer of a route. */
export interface SessionReply {
  status: 200 | 204 | 400 | 404
  json?: unknown
}

interface Session {
  id: string
  /** `NAME/VERSION` as the client called itself, and the bot's user. */
  client: string
  user: string
  socket: WebSocket | undefined
  players: Map<string, FakePlayer>
  resuming: boolean
  /** Seconds. */
  timeout: number
  /** Messages for a client that may come back. */
  queue: string[]
  end: ReturnType<typeof setTimeout> | undefined
}

const statsMs = 60_000

/** The clients of a Lavalink: `/v4/websocket`, sessions that can be resumed, and their players. */
export class FakeSessions {
  readonly #home: SessionsHome
  readonly #server = new WebSocketServer({ noServer: true })
  readonly #sessions = new Map<string, Session>()
  readonly #timers: ReturnType<typeof setInterval>[]

  constructor(home: SessionsHome) {
    this.#home = home
    this.#timers = [
      setInterval(() => this.#eachPlayer((player, session) => this.#update(session, player)), home.playerUpdateMs),
      setInterval(() => this.tellStats(), statsMs),
    ]
    for (const timer of this.#timers) timer.unref()
    this.#server.on('headers', (headers, request) => {
      headers.push('Lavalink-Api-Version: 4', `Session-Resumed: ${this.#resumable(request) !== undefined}`)
    })
  }

  /** Those connected now. */
  get clients(): { id: string; client: string; user: string; players: string[] }[] {
    const connected = [...this.#sessions.values()].filter(({ socket }) => socket)
    return connected.map(({ id, client, user, players }) => ({ id, client, user, players: [...players.keys()] }))
  }

  /** Of connected sessions only: Lavalink does not count those that wait to be resumed, though they play. */
  get counts(): { players: number; playingPlayers: number } {
    const players = [...this.#sessions.values()].flatMap(({ socket, players }) => (socket ? [...players.values()] : []))
    return { players: players.length, playingPlayers: players.filter(({ playing }) => playing).length }
  }

  /** The player of a guild, whoever owns it. */
  player(guild: string): FakePlayer | undefined {
    for (const { players } of this.#sessions.values()) if (players.has(guild)) return players.get(guild)
    return undefined
  }

  /** Takes an upgrade whose password is right. */
  accept(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const user = String(request.headers['user-id'] ?? '')
    if (!/^[1-9]\d*$/.test(user)) {
      refuse(socket, 400)
      return
    }
    const known = this.#resumable(request)
    this.#server.handleUpgrade(request, socket, head, (connection) => {
      const session = known ?? {
        ...{ id: randomBytes(8).toString('hex'), client: String(request.headers['client-name'] ?? ''), user },
        ...{ socket: undefined, players: new Map(), resuming: false, timeout: 60, queue: [], end: undefined },
      }
      this.#sessions.set(session.id, session)
      clearTimeout(session.end)
      session.socket = connection
      connection.on('error', () => {})
      connection.once('close', () => this.#closed(session, connection))
      this.#send(session, { op: 'ready', resumed: known !== undefined, sessionId: session.id })
      for (const message of session.queue.splice(0)) connection.send(message)
      this.#send(session, { op: 'stats', frameStats: null, ...this.#home.stats() })
    })
  }

  /** Answers what is below `/v4/sessions/`; `path` is what follows. */
  route(method: string, path: string, query: URLSearchParams, body: unknown): SessionReply {
    const [id = '', players, guild, ...more] = path.split('/')
    const session = this.#sessions.get(id)
    if (!session || more.length > 0 || (players !== undefined && players !== 'players')) return { status: 404 }
    if (players === undefined) return method === 'PATCH' ? configure(session, body) : { status: 404 }
    if (guild === undefined) return { status: 200, json: [...session.players.values()] }
    const player = session.players.get(guild)
    if (method === 'GET') return player ? { status: 200, json: player } : { status: 404 }
    if (method === 'DELETE') {
      session.players.delete(guild)
      player?.stop('stopped')
      return { status: 204 }
    }
    if (method !== 'PATCH' || typeof body !== 'object' || body === null) return { status: 400 }
    const changed = player ?? this.#create(session, guild)
    changed.change(body as PlayerUpdate, query.get('noReplace') === 'true')
    return { status: 200, json: changed }
  }

  /** Discord hung up on a guild's voice: with Lavalink's WebSocketClosedEvent. */
  loseVoice(guildId: string, code: number, reason: string): void {
    for (const session of this.#sessions.values()) {
      if (!session.players.has(guildId)) continue
      this.#send(session, { op: 'event', type: 'WebSocketClosedEvent', guildId, code, reason, byRemote: true })
    }
  }

  /** Sends stats to everybody now, as Lavalink does every minute. */
  tellStats(): void {
    for (const session of this.#sessions.values())
      this.#send(session, { op: 'stats', frameStats: null, ...this.#home.stats() })
  }

  /** Breaks every connection, and keeps running: what a network does. */
  hangUp(): void {
    for (const client of this.#server.clients) client.terminate()
  }

  /** Ends for good: by a close frame as on SIGTERM, or in the middle of everything. */
  end(how: 'politely' | 'at once'): void {
    for (const timer of this.#timers) clearInterval(timer)
    for (const session of this.#sessions.values()) {
      clearTimeout(session.end)
      session.resuming = false
      for (const player of session.players.values()) player.stop('killed')
      if (how === 'politely') session.socket?.close(1001)
      else session.socket?.terminate()
    }
    this.#sessions.clear()
    this.#server.close()
  }

  #create(session: Session, guild: string): FakePlayer {
    const player = new FakePlayer(guild, {
      tell: (event) => this.#send(session, { op: 'event', ...event }),
      update: (changed) => this.#update(session, changed),
      note: (entry) => this.#home.note(entry),
      load: (identifier) => this.#home.load(identifier),
    })
    session.players.set(guild, player)
    return player
  }

  #closed(session: Session, socket: WebSocket): void {
    if (session.socket !== socket) return
    session.socket = undefined
    if (session.resuming) {
      session.end = setTimeout(() => this.#forget(session), session.timeout * 1_000)
      session.end.unref()
    } else {
      this.#forget(session)
    }
  }

  #forget(session: Session): void {
    this.#sessions.delete(session.id)
    for (const player of session.players.values()) player.stop('cleanup')
  }

  #resumable({ headers }: IncomingMessage): Session | undefined {
    const session = this.#sessions.get(String(headers['session-id'] ?? ''))
    return session && !session.socket && session.resuming ? session : undefined
  }

  #eachPlayer(act: (player: FakePlayer, session: Session) => void): void {
    for (const session of this.#sessions.values()) for (const player of session.players.values()) act(player, session)
  }

  #update(session: Session, { guild: guildId, state }: FakePlayer): void {
    this.#send(session, { op: 'playerUpdate', guildId, state })
  }

  #send(session: Session, message: object): void {
    const lie = this.#home.lie()
    if (lie === null) return
    const text = lie ?? JSON.stringify(message)
    if (session.socket) session.socket.send(text)
    else if (session.resuming) session.queue.push(text)
  }
}

/** Ends a handshake as Lavalink does: a status and nothing else. */
export function refuse(socket: Duplex, status: number): void {
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}

function configure(session: Session, body: unknown): SessionReply {
  const { resuming, timeout } = (body ?? {}) as { resuming?: boolean; timeout?: number }
  session.resuming = resuming ?? session.resuming
  session.timeout = timeout ?? session.timeout
  return { status: 200, json: { resuming: session.resuming, timeout: session.timeout } }
}
