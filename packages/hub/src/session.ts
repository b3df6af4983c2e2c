import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { type CloseName, closes } from '@damon/protocol/closes'
import { DamonError, damonError } from '@damon/protocol/errors'
import type { ClientFrame, Codec, HubControlFrame, HubFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import type { Context } from './context.ts'
import { dispatchAsItCame } from './dispatch.ts'
import { Egress, type EgressOwner } from './egress.ts'
import type { HubSocket, SocketOwner } from './hub-socket.ts'
import type { Identified } from './identity.ts'
import { Inbox, type InboxOwner } from './inbox.ts'
import { decodeIncoming } from './incoming.ts'
import { Intake, type IntakeOwner } from './intake.ts'
import { Liveness } from './liveness.ts'
import { type Sender, SendOrder } from './publisher.ts'
import { Receipts } from './receipts.ts'
import { Replies } from './replies.ts'
import { Routes } from './routes.ts'
import { newTicket, ticketDigest } from './ticket.ts'
import type { Watcher } from './watches.ts'

type Welcome = Extract<HubControlFrame, { type: 'welcome' }>

/** How long a peer may take to answer our close frame, ms. */
const closeMs = 2_000

/** Brings a frame to its handler; a promise means that the session's next frame has to wait for it. It throws what it refuses. */
export type Dispatch = (session: Session, frame: ClientFrame) => Promise<void> | undefined

/** One client's connection: its frames one after another, its identity, what it is in. What it is sent goes through its egress. */
export class Session implements Sender, Watcher, InboxOwner, IntakeOwner, EgressOwner, SocketOwner {
  /** Its own, or that of the earlier session with which it goes on. */
  id = newId()
  ticket = newTicket()
  /** Unix ms. */
  since = Date.now()
  readonly codec: Codec
  readonly address: string
  /** When it is read. */
  readonly intake: Intake
  /** What it is sent. */
  readonly egress: Egress
  version = ''
  /** Set before the store is told of the session: from then on its end has to be told too. */
  registered = false

  readonly #context: Context
  readonly #ws: HubSocket
  readonly #socket: Duplex & { bytesRead?: number }
  readonly #inbox: Inbox
  readonly #dispatch: Dispatch
  readonly #ended: (session: Session) => void
  readonly #receipts: Receipts
  readonly #liveness = new Liveness()
  #groups: Set<string> | undefined
  #leases: Set<string> | undefined
  #order: SendOrder | undefined
  #routes: Routes | undefined
  #replies: Replies | undefined
  #nonce: string | undefined = randomBytes(32).toString('base64url')
  #identified: Identified | undefined
  #closed: CloseName | 'lost' | undefined
  #helloTimer: NodeJS.Timeout | undefined

  constructor(options: {
    context: Context
    ws: HubSocket
    socket: Duplex
    codec: Codec
    address: string
    dispatch: Dispatch
    ended: (session: Session) => void
  }) {
    const { context, ws, socket } = options
    this.#context = context
    this.#ws = ws
    this.#socket = socket
    this.codec = options.codec
    this.address = options.address
    this.#dispatch = options.dispatch
    this.#ended = options.ended
    this.intake = new Intake(ws, { owner: this, turns: context.turns })
    this.#inbox = new Inbox(this.intake, this)
    this.#receipts = new Receipts(context.acks, this)
    this.egress = new Egress({ context, socket, codec: options.codec, owner: this })
    ws.belongTo(this)
    this.#helloTimer = setTimeout(() => this.close('hello_timeout'), context.settings.helloMs)
    this.send({ type: 'challenge', nonce: this.#nonce ?? '', protocol: 'damon.v1', helloMs: context.settings.helloMs })
  }

  // An idle session shall cost little: what only some need is made when they do.
  get groups(): Set<string> {
    this.#groups ??= new Set()
    return this.#groups
  }

  get groupNames(): string[] {
    return [...(this.#groups ?? [])]
  }

  /** Leased records that this session wrote. */
  get leases(): Set<string> {
    this.#leases ??= new Set()
    return this.#leases
  }

  /** Of its frames on their way to the bus. */
  get order(): SendOrder {
    this.#order ??= new SendOrder()
    return this.#order
  }

  /** Where it sent to since it said last who it is. */
  get routes(): Routes {
    this.#routes ??= new Routes(this)
    return this.#routes
  }

  /** What it answers. */
  get replies(): Replies {
    this.#replies ??= new Replies(this)
    return this.#replies
  }

  /** For the proof of this connection, once: empty afterwards. */
  takeNonce(): string {
    const nonce = this.#nonce ?? ''
    this.#nonce = undefined
    return nonce
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
    this.#helloTimer = undefined
    const { rates } = this.#context
    this.intake.allow(rates.join(identified))
    if (this.#identified) rates.leave(this.#identified)
    this.#identified = identified
    this.#routes = undefined
    this.#replies = undefined
  }

  /** What the store knows of its ticket. */
  get digest(): string {
    return ticketDigest(this.ticket, this.identified)
  }

  /** It shall go on with an earlier session. */
  adopt(id: string, ticket: string): void {
    this.id = id
    this.ticket = ticket
  }

  /** It cannot, and is a new one: what came for that earlier session is not for its eyes. */
  renounce(): void {
    this.#context.delivery.remove(`session/${this.id}`, this.egress)
    this.egress.forget()
    this.adopt(newId(), newTicket())
  }

  /** Says what a hello is answered with. */
  welcome(how: Pick<Welcome, 'resumed' | 'reason' | 'lapsed' | 'done' | 'refused' | 'positions'>): void {
    const { publisher, settings, store } = this.#context
    const { id: session, ticket, subject } = this
    const { heartbeatMs, frameBytes } = settings
    const ack = { origin: publisher.origin, seq: publisher.seq }
    this.send({ type: 'welcome', session, ticket, epoch: store.epoch, subject, heartbeatMs, frameBytes, ack, ...how })
  }

  /** It has gone on: all its own frames up to this number are settled, and it may answer what its client was given before. */
  goOn(done: number): void {
    this.#receipts.goOn(done)
    this.egress.unanswered.trust(performance.now())
  }

  /** Up to which number its own frames are settled. */
  get settledNumber(): number {
    return this.#receipts.settled
  }

  /** The number of a numbered frame, which MUST follow the one before. @throws DamonError `bad_field` */
  count(number: number): void {
    if (this.#receipts.begin(number)) return
    const error = damonError('bad_field', `number: is ${number}, not ${this.#receipts.next}.`, { field: 'number' })
    this.close('bad_frame', error)
    throw error
  }

  /** Sends a control frame, whatever the state of the outbox. */
  send(frame: HubFrame): void {
    this.egress.send(frame)
  }

  offer(frame: HubFrame): boolean {
    return this.egress.offer(frame)
  }

  acknowledge(number: number, origin: number, seq: number, patient: boolean): void {
    this.#receipts.confirm(number, origin, seq, patient)
  }

  refuse(number: number, error: unknown): void {
    this.sendError(error, { number })
    this.#receipts.refuse(number)
  }

  brake(): void {
    this.intake.brake()
  }

  release(): void {
    this.intake.releaseBrake()
  }

  /** Tells an error: of a control frame (`id`), of a numbered frame (`number`) or of the connection. */
  sendError(
    error: unknown,
    about: { id?: number | undefined; number?: number | undefined; retryAfterMs?: number } = {},
  ): void {
    const told = error instanceof DamonError ? error : damonError('internal', undefined, { cause: error })
    if (!(error instanceof DamonError)) this.#context.log.error({ err: error, session: this.id }, 'a handler failed')
    this.#context.metrics.refused.inc({ code: told.code })
    const { code, message, retry, field } = told
    // A frame that the store did not take may be sent again; a connection has its own backoff.
    const later = code === 'unavailable' && (about.number !== undefined || about.id !== undefined)
    const retryAfterMs = later ? limits.appendMs : undefined
    this.send({ type: 'error', code, message, retry, field, retryAfterMs, ...about })
  }

  /** Takes no more frames; what was taken is still answered. */
  quiet(): void {
    this.#inbox.close()
    this.intake.close()
    this.#ws.pause()
  }

  /** Hangs up for a reason of the table; an error goes ahead of it. */
  close(name: CloseName, error?: unknown): void {
    if (this.#closed) return
    if (error !== undefined) this.sendError(error)
    // The error may have been the frame too many.
    if (this.#closed) return
    this.#receipts.flush()
    this.egress.flush()
    this.#context.metrics.closed.inc({ reason: name })
    if (name === 'silent' || name === 'slow_consumer') this.#ws.terminate()
    else {
      this.#ws.close(closes[name].code, name)
      // A paused socket would not see the answer.
      this.#ws.resume()
      setTimeout(() => this.#ws.terminate(), closeMs).unref()
    }
    this.#end(name)
  }

  /** Looks whether the connection may go on; called every `tickMs`, several times a heartbeat. */
  check(now: number, tickMs: number): void {
    this.egress.unanswered.expire(now)
    const line = {
      bytesRead: this.#socket.bytesRead ?? 0,
      paused: this.intake.paused || !this.#identified,
      heartbeatMs: this.#context.settings.heartbeatMs,
      tickMs,
      refusesSince: this.egress.refusesSince,
    }
    const reason = this.#liveness.verdict(now, line)
    if (reason) this.close(reason)
    else if (this.#identified && Date.now() >= this.#identified.expires)
      this.close('token_expired', damonError('token_expired'))
  }

  /** How the store shall take its end. */
  get departure(): 'left' | 'lost' {
    return this.#closed === 'bye' ? 'left' : 'lost'
  }

  /** What it gets messages of. */
  get channels(): string[] {
    if (!this.#identified) return []
    const groups = this.groupNames.map((group) => `group/${group}`)
    return ['all', `client/${this.subject}`, `session/${this.id}`, ...groups]
  }

  excessive(retryAfterMs: number): void {
    this.sendError(damonError('rate_limited', 'It is read only as fast as the rate of its token allows.'), {
      retryAfterMs,
    })
  }

  unbearable(): void {
    this.close('rate_limited', damonError('rate_limited'))
  }

  drained(): void {
    this.#context.watches.drained(this)
  }

  writes(): void {
    this.#receipts.goAlong()
  }

  overflow(): void {
    this.close('slow_consumer')
  }

  crowded(): void {
    this.close('overloaded', damonError('overloaded', 'Too many frames wait for an earlier one.'))
  }

  fault(name: CloseName): void {
    this.close(name)
  }

  gone(): void {
    this.#end('lost')
  }

  message(data: Buffer, isBinary: boolean): void {
    this.#take(data, 0, data.length, isBinary)
  }

  whole(chunk: Buffer, from: number, to: number): void {
    this.#take(chunk, from, to, true)
  }

  #take(chunk: Buffer, from: number, to: number, isBinary: boolean): void {
    if (this.#closed) return
    this.intake.took(to - from)
    // It may just have been too much.
    if (this.#closed) return
    if (!this.#identified && to - from > limits.helloBytes) {
      this.close('too_large', damonError('too_large', `A hello has at most ${limits.helloBytes} bytes.`))
      return
    }
    // Where a frame says nothing new but its payload, it need not be read.
    if (isBinary && this.codec === 'binary' && this.#inbox.free && this.#identified) {
      const type = dispatchAsItCame(this, chunk, from, to, this.#context)
      if (type) {
        this.#context.metrics.received(type)
        return
      }
    }
    let frame: ClientFrame
    try {
      frame = decodeIncoming(this.codec, chunk.subarray(from, to), isBinary)
    } catch (error) {
      const { id, fatal } = error as { id?: number; fatal?: boolean }
      if (this.#identified && !fatal) this.sendError(error, { id })
      else this.close('bad_frame', error)
      return
    }
    this.#context.metrics.received(frame.type)
    // A ping is about the line, not about the order of the frames on it.
    if (frame.type === 'ping' && this.#inbox.busy && this.#identified) this.handle(frame)
    else this.#inbox.take(frame)
  }

  handle(frame: ClientFrame): Promise<void> | undefined {
    const refuse = (error: unknown) => {
      if (!this.#identified) this.close(frame.type === 'hello' ? refusalOf(error) : 'bad_frame', error)
      else if ('number' in frame) this.refuse(frame.number, error)
      else this.sendError(error, { id: 'id' in frame ? frame.id : undefined })
    }
    try {
      return this.#dispatch(this, frame)?.catch(refuse)
    } catch (error) {
      refuse(error)
      return undefined
    }
  }

  #end(name: CloseName | 'lost'): void {
    if (this.#closed) return
    this.#closed = name
    clearTimeout(this.#helloTimer)
    this.#inbox.close()
    this.intake.close()
    this.egress.close()
    this.#context.restraint.forget(this.intake)
    if (this.#identified) this.#context.rates.leave(this.#identified)
    if (name === 'lost') this.#context.metrics.closed.inc({ reason: 'lost' })
    const context = this.#context
    context.watches.removeAll(this)
    // What it wanted to be, it may not be.
    if (this.registered) context.requests.endSession(this.id)
    for (const channel of this.channels) context.delivery.remove(channel, this.egress)
    this.#ended(this)
  }
}

function newId(): string {
  return randomBytes(8).toString('hex')
}

/** The close code for an error of the hello. */
function refusalOf(error: unknown): CloseName {
  if (!(error instanceof DamonError)) return 'internal'
  if (error.code === 'token_expired' || error.code === 'token_revoked') return error.code
  if (error.code === 'unavailable' || error.code === 'overloaded') return error.code
  if (error.code === 'bad_field' || error.code === 'unexpected_frame') return 'bad_frame'
  return 'unauthorized'
}
