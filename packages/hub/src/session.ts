import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { type CloseName, closes } from '@damon/protocol/closes'
import { DamonError, damonError } from '@damon/protocol/errors'
import type { ClientFrame, Codec, HubFrame, MessageFrame } from '@damon/protocol/frames'
import { limits, silenceFactor } from '@damon/protocol/limits'
import type { WebSocket } from 'ws'
import type { Context } from './context.ts'
import type { Receiver } from './delivery.ts'
import { dispatch } from './dispatch.ts'
import { Encoded } from './encoded.ts'
import type { Identified } from './identity.ts'
import { decodeIncoming } from './incoming.ts'
import { Outbox } from './outbox.ts'
import type { Sender } from './publisher.ts'
import type { Requester } from './requests.ts'
import type { Watcher } from './watches.ts'

/** How long a peer may take to answer our close frame, ms. */
const closeMs = 2_000

/** Frames waiting in a session at which its socket is no longer read, until they are done. */
const pauseAt = 64

/** A request that this session was given and has not answered. */
interface Unanswered {
  /** Monotonic ms. */
  until: number
}

/** One client's connection: its frames one after another, its identity, what it is in, what it must still be sent. */
export class Session implements Receiver, Sender, Requester, Watcher {
  readonly id = randomBytes(8).toString('hex')
  readonly ticket = randomBytes(16).toString('base64url')
  /** For the proof of this connection; used once. */
  readonly nonce = randomBytes(32).toString('base64url')
  readonly codec: Codec
  readonly address: string
  readonly groups = new Set<string>()
  /** Leased records that this session wrote. */
  readonly leases = new Set<string>()
  readonly unanswered = new Map<string, Unanswered>()
  version = ''
  /** Number of its latest numbered frame. */
  last = 0
  /** Set when the store knows the session. */
  registered = false

  readonly #context: Context
  readonly #ws: WebSocket
  readonly #socket: Duplex & { bytesRead?: number }
  readonly #outbox: Outbox
  readonly #ended: (session: Session) => void
  readonly #gaps = new Map<string, { origin: number; to: string; from: number; until: number }>()
  readonly #queue: ClientFrame[] = []
  #identified: Identified | undefined
  #working = false
  #closed: CloseName | 'lost' | undefined
  #helloTimer: NodeJS.Timeout | undefined
  #bytesRead = -1
  #lastHeard = performance.now()
  #slowSince: number | undefined

  constructor(options: {
    context: Context
    ws: WebSocket
    socket: Duplex
    codec: Codec
    address: string
    ended: (session: Session) => void
  }) {
    const { context, ws, socket } = options
    this.#context = context
    this.#ws = ws
    this.#socket = socket
    this.codec = options.codec
    this.address = options.address
    this.#ended = options.ended
    this.#outbox = new Outbox({
      socket,
      flusher: context.flusher,
      limit: context.settings.outboxBytes,
      drained: () => this.#drained(),
    })
    ws.on('message', (data: Buffer, isBinary) => this.#receive(data, isBinary))
    ws.on('close', () => this.#end('lost'))
    ws.on('error', () => undefined)
    this.#helloTimer = setTimeout(() => this.close('hello_timeout'), context.settings.helloMs)
    this.send({ type: 'challenge', nonce: this.nonce, protocol: 'damon.v1', helloMs: context.settings.helloMs })
  }

  /** Who it is. @throws DamonError `unexpected_frame` before the hello */
  get identified(): Identified {
    if (!this.#identified) throw damonError('unexpected_frame', 'The first frame must be a hello.')
    return this.#identified
  }

  get isIdentified(): boolean {
    return this.#identified !== undefined
  }

  get isClosed(): boolean {
    return this.#closed !== undefined
  }

  get subject(): string {
    return this.identified.subject
  }

  identify(identified: Identified): void {
    clearTimeout(this.#helloTimer)
    this.#identified = identified
  }

  /** The number of a numbered frame, which MUST follow the one before. @throws DamonError `bad_field` */
  count(number: number): void {
    if (number === this.last + 1) {
      this.last = number
      return
    }
    const error = damonError('bad_field', `number: is ${number}, not ${this.last + 1}.`, { field: 'number' })
    this.close('bad_frame', error)
    throw error
  }

  /** Sends a control frame, whatever the state of the outbox. */
  send(frame: HubFrame): void {
    if (this.#closed) return
    this.#context.metrics.frames.inc({ direction: 'out', type: frame.type })
    this.#outbox.push(Encoded.of(frame).wire(this.codec))
  }

  offer(frame: HubFrame): boolean {
    if (this.#closed) return true
    return this.#outbox.offer(Encoded.of(frame).wire(this.codec)) || this.#slow()
  }

  deliver(frame: Encoded): void {
    if (this.#closed) return
    // Answers come by the same channel as messages; which of them count is for the collection to say.
    if (frame.isAnswer) {
      this.#context.requests.arrive(this.id, frame)
      return
    }
    if (frame.isRequest) this.#expectReply(frame.frame as MessageFrame)
    this.answer(frame)
  }

  answer(frame: Encoded): void {
    if (!this.#outbox.offer(frame.wire(this.codec))) {
      this.#slow()
      this.#dropped(frame)
    }
  }

  gap(origin: number, channel: string, from: number, until: number): void {
    this.send({ type: 'gap', origin, to: channel, from, until })
  }

  settled(request: number, tally: Record<string, number>): void {
    this.send({ type: 'settled', request, tally })
  }

  acknowledge(number: number, origin: number, seq: number): void {
    this.send({ type: 'ack', number, origin, seq })
  }

  refuse(number: number, error: unknown): void {
    this.sendError(error, { number })
  }

  /** Tells an error: of a control frame (`id`), of a numbered frame (`number`) or of the connection. */
  sendError(error: unknown, about: { id?: number | undefined; number?: number | undefined } = {}): void {
    const told = error instanceof DamonError ? error : damonError('internal', undefined, { cause: error })
    if (!(error instanceof DamonError)) this.#context.log.error({ err: error, session: this.id }, 'a handler failed')
    this.#context.metrics.refused.inc({ code: told.code })
    const { code, message, retry, field } = told
    this.send({ type: 'error', code, message, retry, field, ...about })
  }

  /** Hangs up for a reason of the table; an error goes ahead of it. */
  close(name: CloseName, error?: unknown): void {
    if (this.#closed) return
    if (error !== undefined) this.sendError(error)
    this.#outbox.flush()
    this.#context.metrics.closed.inc({ reason: name })
    if (name === 'silent' || name === 'slow_consumer') this.#ws.terminate()
    else this.#ws.close(closes[name].code, name)
    setTimeout(() => this.#ws.terminate(), closeMs).unref()
    this.#end(name)
  }

  /**
   * Looks whether the other side is alive, its token valid and its socket moving; called several times a heartbeat.
   * `tickMs` is the time between calls, so that silence is noticed within its bound.
   */
  check(now: number, tickMs: number): void {
    const { heartbeatMs } = this.#context.settings
    const bytesRead = this.#socket.bytesRead ?? 0
    if (bytesRead !== this.#bytesRead || this.#ws.isPaused) this.#lastHeard = now
    this.#bytesRead = bytesRead
    const bound = heartbeatMs * silenceFactor - tickMs
    if (this.#identified && now - this.#lastHeard >= bound) this.close('silent')
    else if (this.#slowSince !== undefined && now - this.#slowSince >= bound) this.close('slow_consumer')
    else if (this.#identified && Date.now() >= this.#identified.expires)
      this.close('token_expired', damonError('token_expired'))
    for (const [key, { until }] of this.unanswered) if (until < now) this.unanswered.delete(key)
  }

  #receive(data: Buffer, isBinary: boolean): void {
    if (this.#closed) return
    if (!this.#identified && data.length > limits.helloBytes) {
      this.close('too_large', damonError('too_large', `A hello has at most ${limits.helloBytes} bytes.`))
      return
    }
    let frame: ClientFrame
    try {
      frame = decodeIncoming(this.codec, data, isBinary)
    } catch (error) {
      const { id, fatal } = error as { id?: number; fatal?: boolean }
      if (this.#identified && !fatal) this.sendError(error, { id })
      else this.close('bad_frame', error)
      return
    }
    this.#context.metrics.frames.inc({ direction: 'in', type: frame.type })
    if (this.#working) this.#enqueue(frame)
    else this.#work(frame)
  }

  #enqueue(frame: ClientFrame): void {
    if (this.#queue.length >= limits.pendingFrames) {
      this.close('overloaded', damonError('overloaded', 'Too many frames wait for an earlier one.'))
      return
    }
    // A ping is about the line, not about the order of the frames on it.
    if (frame.type === 'ping' && this.#identified) dispatch(this, frame, this.#context)
    else if (this.#queue.push(frame) >= pauseAt) this.#ws.pause()
  }

  /** Handles frames one after another, so that a client's frames take effect in its order. */
  #work(first: ClientFrame): void {
    let frame: ClientFrame | undefined = first
    while (frame && !this.#closed) {
      const pending = this.#handle(frame)
      if (pending) {
        this.#working = true
        pending.then(() => {
          this.#working = false
          const next = this.#queue.shift()
          if (next) this.#work(next)
        })
        return
      }
      frame = this.#queue.shift()
    }
    if (this.#ws.isPaused) this.#ws.resume()
  }

  #handle(frame: ClientFrame): Promise<void> | undefined {
    const about = { id: 'id' in frame ? frame.id : undefined, number: 'number' in frame ? frame.number : undefined }
    const refuse = (error: unknown) => {
      if (this.#identified) this.sendError(error, about)
      else this.close(frame.type === 'hello' ? refusalOf(error) : 'bad_frame', error)
    }
    try {
      return dispatch(this, frame, this.#context)?.catch(refuse)
    } catch (error) {
      refuse(error)
      return undefined
    }
  }

  #expectReply(frame: MessageFrame): void {
    const key = `${frame.session}/${frame.number}`
    this.unanswered.set(key, { until: performance.now() + frame.deadline + 1_000 })
    if (this.unanswered.size > limits.unansweredRequests) {
      const [oldest] = this.unanswered.keys()
      if (oldest !== undefined) this.unanswered.delete(oldest)
    }
  }

  #slow(): false {
    this.#slowSince ??= performance.now()
    return false
  }

  #dropped(encoded: Encoded): void {
    this.#context.metrics.dropped.inc()
    const frame = encoded.positioned
    if (!frame) return
    const to = frame.type === 'message' && !frame.any ? frame.to : `session/${this.id}`
    const gap = this.#gaps.get(`${frame.origin} ${to}`)
    if (gap) gap.until = frame.seq
    else this.#gaps.set(`${frame.origin} ${to}`, { origin: frame.origin, to, from: frame.seq, until: frame.seq })
  }

  #drained(): void {
    this.#slowSince = undefined
    for (const gap of this.#gaps.values()) {
      this.#context.metrics.gaps.inc({ where: 'outbox' })
      this.send({ type: 'gap', ...gap })
    }
    this.#gaps.clear()
    this.#context.watches.drained(this)
  }

  #end(name: CloseName | 'lost'): void {
    if (this.#closed) return
    this.#closed = name
    clearTimeout(this.#helloTimer)
    this.#queue.length = 0
    if (name === 'lost') this.#context.metrics.closed.inc({ reason: 'lost' })
    const context = this.#context
    context.watches.removeAll(this)
    context.requests.endSession(this.id)
    if (this.#identified) {
      for (const channel of ['all', `client/${this.subject}`, `session/${this.id}`])
        context.delivery.remove(channel, this)
      for (const group of this.groups) context.delivery.remove(`group/${group}`, this)
    }
    this.#ended(this)
  }

  /** How the store shall take its end. */
  get departure(): 'left' | 'lost' {
    return this.#closed === 'bye' ? 'left' : 'lost'
  }
}

/** The close code for an error of the hello. */
function refusalOf(error: unknown): CloseName {
  if (!(error instanceof DamonError)) return 'internal'
  if (error.code === 'token_expired' || error.code === 'token_revoked') return error.code
  if (error.code === 'unavailable' || error.code === 'overloaded') return error.code
  if (error.code === 'bad_field' || error.code === 'unexpected_frame') return 'bad_frame'
  return 'unauthorized'
}
