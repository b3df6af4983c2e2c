import { connect as connectTcp, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, TLSSocket } from 'node:tls'
import type { Endpoint, Pass } from '../work.ts'
import type { Dialect } from './dialect.ts'
import { Tally } from './tally.ts'
import { masked, opcodes, readHead } from './web-socket.ts'

const upgradeMs = 30_000

/** One client's connection: a raw socket behind a WebSocket handshake. */
export class Line {
  readonly pass: Pass
  /** The host as it was dialled. */
  readonly host: string
  /** Which process of the server holds it. */
  place = 0
  /** For dialects that number what they send. */
  number = 0
  /** Told how many messages came. */
  hear: (messages: number) => void = () => undefined
  /** Told of every single message, where `reading` is set. */
  hearOne: ((payload: Buffer) => void) | undefined

  readonly #socket: Socket
  readonly #failed: (error: Error) => void
  readonly #told: Buffer[] = []
  #waiting: ((payload: Buffer) => void) | undefined
  #ended = false

  private constructor(socket: Socket, options: { pass: Pass; host: string; failed: (error: Error) => void }) {
    this.#socket = socket
    this.pass = options.pass
    this.host = options.host
    this.#failed = options.failed
  }

  /** Dials and upgrades. `failed` is told when the connection breaks later. */
  static async dial(options: {
    endpoint: Endpoint
    dialect: Dialect
    pass: Pass
    index: number
    failed: (error: Error) => void
    /** Whether each message is read and not only counted. */
    reading?: boolean
    /** The local address. */
    from?: string | undefined
  }): Promise<Line> {
    const { endpoint, dialect, index, pass } = options
    const place = index % endpoint.urls.length
    const url = new URL(endpoint.urls[place] ?? '')
    // The load generator goes by IPv4 always, whatever localhost resolves to.
    const host = url.hostname === 'localhost' ? '127.0.0.1' : url.hostname
    const where = { host, port: Number(url.port), ...(options.from && { localAddress: options.from }) }
    const tls = url.protocol === 'wss:'
    const socket = tls
      ? connectTls({ ...where, ca: endpoint.ca, servername: 'localhost' } as ConnectionOptions)
      : connectTcp(where)
    socket.setNoDelay(true)
    const line = new Line(socket, { pass, host: url.hostname, failed: options.failed })
    line.place = place
    const rest = await upgrade(socket, tls ? 'secureConnect' : 'connect', url.host, dialect)
    const tally = new Tally({
      parse: dialect.parser ? dialect.parser(line) : parseFrames(line, dialect),
      hear: (messages) => line.hear(messages),
      reading: options.reading ?? false,
    })
    const stream = dialect.parser ? withoutFrames(line, tally) : tally
    const take = (chunk: Buffer) => {
      try {
        stream.take(chunk)
      } catch (error) {
        line.fail(error as Error)
      }
    }
    socket.on('data', take)
    socket.on('error', (error) => line.fail(error))
    socket.on('close', () => line.fail(new Error('The server hung up.')))
    if (rest.length > 0) take(rest)
    return line
  }

  write(frames: Buffer): void {
    this.#socket.write(frames)
  }

  /** A frame of the server that is no message, for whoever waits for it. */
  tell(payload: Buffer): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting) waiting(Buffer.from(payload))
    else this.#told.push(Buffer.from(payload))
  }

  /** The next frame of the server that was told. */
  next(): Promise<Buffer> {
    const told = this.#told.shift()
    if (told) return Promise.resolve(told)
    return new Promise((resolve) => {
      this.#waiting = resolve
    })
  }

  fail(error: Error): void {
    if (this.#ended) return
    this.end()
    this.#failed(new Error(`The connection of ${this.pass.name} broke: ${error.message}`, { cause: error }))
  }

  /** No longer takes what comes; that the server hangs up on it is no failure then. */
  pause(): void {
    this.#ended = true
    this.#socket.pause()
  }

  /** Resets the connection, so that ten thousand of them leave no port behind in TIME_WAIT. */
  end(): void {
    this.#ended = true
    // Node cannot reset a connection under TLS.
    if (this.#socket instanceof TLSSocket) this.#socket.destroy()
    else this.#socket.resetAndDestroy()
  }
}

/** Resolves to what came behind the 101. */
function upgrade(socket: Socket, ready: string, host: string, dialect: Dialect): Promise<Buffer> {
  const protocol = dialect.protocol ? `Sec-WebSocket-Protocol: ${dialect.protocol}\r\n` : ''
  const request = `GET ${dialect.path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${protocol}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`
  return new Promise((resolve, reject) => {
    let answer = Buffer.alloc(0)
    const timer = setTimeout(() => fail(new Error('The server did not upgrade in time.')), upgradeMs)
    const settle = () => {
      clearTimeout(timer)
      socket.off('data', onData).off('error', fail).off('close', onClose)
    }
    const fail = (error: Error) => {
      settle()
      socket.on('error', () => undefined)
      socket.destroy()
      reject(error)
    }
    const onClose = () => fail(new Error('The server hung up before it upgraded.'))
    const onData = (chunk: Buffer) => {
      answer = Buffer.concat([answer, chunk])
      const end = answer.indexOf('\r\n\r\n')
      if (end < 0) return
      const status = answer.toString('latin1', 0, answer.indexOf('\r\n'))
      if (!status.startsWith('HTTP/1.1 101')) return fail(new Error(`The server did not upgrade: ${status}`))
      settle()
      resolve(answer.subarray(end + 4))
    }
    socket.on('data', onData).on('error', fail).on('close', onClose)
    socket.once(ready, () => socket.write(request))
  })
}

/** For dialects with one message in each WebSocket frame: the records are the frames. */
function parseFrames(line: Line, dialect: Dialect) {
  return (bytes: Buffer, at: number) => {
    const frame = readHead(bytes, at)
    if (!frame || bytes.length - at < frame.head + frame.length) return undefined
    const payload = bytes.subarray(at + frame.head, at + frame.head + frame.length)
    const size = frame.head + frame.length
    if (isControl(line, frame.opcode, payload)) return { size, probe: 0 }
    const message = dialect.read(line, payload)
    if (message) line.hearOne?.(payload)
    return { size, probe: message ? frame.head + dialect.constantBytes : 0 }
  }
}

/** For dialects that know no frames: hands on what is in them. */
function withoutFrames(line: Line, tally: Tally): Pick<Tally, 'take'> {
  let rest = 0
  let begun = Buffer.alloc(0)
  return {
    take(chunk) {
      let bytes = begun.length > 0 ? Buffer.concat([begun, chunk]) : chunk
      begun = Buffer.alloc(0)
      while (bytes.length > 0) {
        if (rest === 0) {
          const frame = readHead(bytes, 0)
          const control = frame !== undefined && frame.opcode >= opcodes.close
          if (!frame || (control && bytes.length < frame.head + frame.length)) {
            begun = Buffer.from(bytes)
            return
          }
          if (control) isControl(line, frame.opcode, bytes.subarray(frame.head, frame.head + frame.length))
          else rest = frame.length
          bytes = bytes.subarray(frame.head + (control ? frame.length : 0))
          continue
        }
        const part = bytes.subarray(0, rest)
        rest -= part.length
        bytes = bytes.subarray(part.length)
        tally.take(part)
      }
    },
  }
}

function isControl(line: Line, opcode: number, payload: Buffer): boolean {
  if (opcode < opcodes.close) return false
  if (opcode === opcodes.ping) line.write(masked(payload, opcodes.pong))
  if (opcode === opcodes.close)
    line.fail(
      new Error(
        `The server closed: ${payload.length > 1 ? payload.readUInt16BE(0) : ''} ${payload.toString('utf8', 2)}`,
      ),
    )
  return true
}
