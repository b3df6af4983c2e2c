import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { decodeClientFrame, encodeHubFrame } from '@damon/protocol/codec-binary'
import { decodeClientText, encodeHubText } from '@damon/protocol/codec-json'
import type { ClientFrame, HubControlFrame, HubFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import type { Credential } from '@damon/trust/credential'
import { generateKey } from '@damon/trust/keys'
import { mintToken } from '@damon/trust/token'
import { type WebSocket, WebSocketServer } from 'ws'

type Welcome = Extract<HubControlFrame, { type: 'welcome' }>
type Type = ClientFrame['type']
type Frame<T extends Type> = Extract<ClientFrame, { type: T }>

const waitMs = 10_000

/** How a scripted hub departs from good manners. It may be changed at any time. */
export interface Script {
  /** Instead of the challenge: true when the script saw to it. */
  opened?(connection: ScriptedConnection): boolean
  /** Instead of the well-behaved answer to a frame: true when the script saw to it. */
  frame?(frame: ClientFrame, connection: ScriptedConnection): boolean
}

/** One client's connection to a scripted hub. */
export interface ScriptedConnection {
  readonly session: string
  /** All frames so far. */
  readonly frames: readonly ClientFrame[]
  /** Code of the client's close; 1006 when it just went. */
  readonly closed: Promise<number>
  /** Waits for the next frame of a type that no earlier call of `next` took. */
  next<T extends Type>(type: T): Promise<Frame<T>>
  send(frame: HubFrame): void
  /** Welcomes, with what is not as usual. */
  welcome(unusual?: Partial<Welcome>): void
  /** Welcomes whom the hello asked to resume, behind the last number it gave, with what is not as usual. */
  resume(unusual?: Partial<Welcome>): void
  /** Sends a message that is no frame. */
  sendRaw(data: Uint8Array | string): void
  /** Hangs up. */
  close(code: number, reason?: string): void
  /** Breaks the connection. */
  break(): void
  /** Reads and writes nothing any more, and closes nothing. */
  swallow(): void
}

/** A hub that misbehaves on request: one process, no TLS, no store; what it is not told otherwise it does well. */
export interface ScriptedHub extends AsyncDisposable {
  readonly url: string
  readonly connections: readonly ScriptedConnection[]
  script: Script
  /** Waits for the connection with this number, from 0. */
  connection(index: number): Promise<ScriptedConnection>
  /** A credential for a client of this hub, with other URLs where they are given. */
  credential(urls?: string[]): Credential
}

/** Starts a scripted hub on a loopback port of its own. */
export async function startScriptedHub(options: { heartbeatMs?: number } = {}): Promise<ScriptedHub> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: ([first]) => first ?? false })
  await once(server, 'listening')
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
  const identity = await generateKey()
  const issuer = await generateKey()
  const now = Math.floor(Date.now() / 1000)
  const token = await mintToken(
    { kid: 'op-1', key: issuer.privateKey },
    {
      aud: 'damon:test',
      sub: 'bot/one',
      can: [],
      iat: now,
      exp: now + 600,
      jti: 't1',
      cnf: { jwk: identity.publicKey },
    },
  )
  const connections: ScriptedConnection[] = []
  const arrivals = new Set<() => void>()
  const hub: ScriptedHub = {
    url,
    connections,
    script: {},
    connection: (index) => waitFor(arrivals, `connection ${index}`, () => connections[index]),
    credential: (urls = [url]) => ({
      damon: 1,
      urls,
      aud: 'damon:test',
      root: issuer.publicKey,
      trust: 'none',
      token,
      identity: identity.privateKey,
    }),
    async [Symbol.asyncDispose]() {
      for (const client of server.clients) client.terminate()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  server.on('connection', (ws) => {
    const { connection, manners } = accept(ws, options.heartbeatMs ?? limits.heartbeatMs)
    ws.on('message', (data: Buffer, isBinary) => {
      const frame = isBinary ? decodeClientFrame(new Uint8Array(data)) : decodeClientText(data.toString('utf8'))
      manners.note(frame)
      if (!hub.script.frame?.(frame, connection)) manners.answer(frame)
    })
    connections.push(connection)
    for (const arrived of [...arrivals]) arrived()
    if (!hub.script.opened?.(connection))
      connection.send({
        type: 'challenge',
        nonce: randomBytes(32).toString('base64url'),
        protocol: 'damon.v1',
        helloMs: 5_000,
      })
  })
  return hub
}

function accept(ws: WebSocket, heartbeatMs: number) {
  const session = randomBytes(8).toString('hex')
  const frames: ClientFrame[] = []
  const taken = new Map<Type, number>()
  const news = new Set<() => void>()
  let revision = 0
  let silent = false
  const connection: ScriptedConnection = {
    session,
    frames,
    closed: new Promise((resolve) => ws.once('close', (code) => resolve(code))),
    async next<T extends Type>(type: T) {
      const index = taken.get(type) ?? 0
      taken.set(type, index + 1)
      return waitFor(news, `${type} ${index}`, () => frames.filter((frame) => frame.type === type)[index] as Frame<T>)
    },
    send(frame) {
      if (!silent) ws.send(ws.protocol === 'damon.v1' ? encodeHubFrame(frame) : encodeHubText(frame))
    },
    welcome(unusual) {
      connection.send({
        type: 'welcome',
        session,
        ticket: 'ticket',
        epoch: 'epoch',
        resumed: false,
        subject: 'bot/one',
        heartbeatMs,
        frameBytes: limits.frameBytes,
        done: 0,
        ack: { origin: 1, seq: 0 },
        positions: [],
        ...unusual,
      })
    },
    resume(unusual) {
      const hello = frames.find((frame) => frame.type === 'hello')
      if (!hello?.resume) throw new Error('The hello did not ask to resume.')
      const { session, ticket, sent, positions } = hello.resume
      connection.welcome({ resumed: true, session, ticket, done: sent, positions, ...unusual })
    },
    sendRaw: (data) => ws.send(data),
    close: (code, reason = '') => ws.close(code, reason),
    break: () => ws.terminate(),
    swallow() {
      silent = true
      ws.pause()
    },
  }
  const manners = {
    note(frame: ClientFrame) {
      frames.push(frame)
      for (const told of [...news]) told()
    },
    answer(frame: ClientFrame) {
      if (frame.type === 'hello') connection.welcome()
      else if (frame.type === 'bye') ws.close(3500, 'bye')
      else if (frame.type === 'ping') connection.send({ type: 'pong', t: frame.t })
      else if ('number' in frame) connection.send({ type: 'ack', number: frame.number, origin: 1, seq: frame.number })
      else if (frame.type === 'get' || frame.type === 'list' || frame.type === 'watch')
        connection.send({
          type: 'records',
          id: frame.id,
          snapshot: true,
          reset: true,
          more: false,
          revision,
          entries: [],
        })
      else if ('id' in frame && frame.type !== 'unwatch')
        connection.send({ type: 'ack', id: frame.id, revision: ++revision, generation: 1, positions: [] })
    },
  }
  return { connection, manners }
}

/** Resolves with what `look` finds, at once or after one of the calls that `news` gets; rejects after 10 s. */
function waitFor<T>(news: Set<() => void>, what: string, look: () => T | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      news.delete(check)
      clearTimeout(timer)
    }
    const timer = setTimeout(() => {
      stop()
      reject(new Error(`No ${what} within ${waitMs / 1000} s.`))
    }, waitMs)
    const check = () => {
      const found = look()
      if (found === undefined) return
      stop()
      resolve(found)
    }
    news.add(check)
    check()
  })
}
