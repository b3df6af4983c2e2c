import type { LookupFunction } from 'node:net'
import { type DamonError, damonError } from '@damon/protocol/errors'
import type { Codec, HubControlFrame, HubFrame, MessageFrame } from '@damon/protocol/frames'
import type { Credential } from '@damon/trust/credential'
import { readToken } from '@damon/trust/token'
import type { Announcement } from './announcement.ts'
import { Announcements } from './announcements.ts'
import type { BackoffBounds } from './backoff.ts'
import { Calls } from './calls.ts'
import { deferred, quiet, unlessAborted } from './deferred.ts'
import { Destination } from './destination.ts'
import { Groups } from './groups.ts'
import { Handlers, type MessageListener, type RequestHandler } from './handlers.ts'
import { hello, type Resumable } from './hello.ts'
import { Line, type LineEvents, type WelcomeFrame } from './line.ts'
import { type HubState, Link, type StateChange } from './link.ts'
import { Listeners, warn } from './listeners.ts'
import { Outbound } from './outbound.ts'
import { Positions } from './positions.ts'
import type { RecordEntry } from './record-entry.ts'
import { type PutOptions, Records, type Written } from './records.ts'
import { refusal } from './refusal.ts'
import { Requests } from './requests.ts'
import type { Dial } from './transport.ts'
import type { Watch } from './watch.ts'
import { Watches } from './watches.ts'

/** How a client behaves; every field has a default. */
export interface HubOptions {
  /** What this client is, for its service record: "music-bot". */
  name?: string
  /** And its version: "1.4.0". */
  version?: string
  /** Groups to be in from the first moment. */
  groups?: readonly string[]
  /** `json` is readable on the wire, `binary` is small; default `binary`. */
  codec?: Codec
  /** Gives up connecting; without effect after the first welcome. */
  signal?: AbortSignal
  /** Delays between attempts to connect; default 250 ms doubling to 15 s, each wholly random below that. */
  backoff?: BackoffBounds
  /** Milliseconds that a call or a send may wait for a connection and its acknowledgement; default 30,000. */
  timeoutMs?: number
  /** Resolves the hub's host name, for Node; default `dns.lookup`. Asked afresh for each attempt. */
  lookup?: LookupFunction
  /** Hears every change of state from the very first. */
  onState?(change: StateChange): void
}

/** Messages that were lost on the way: at most numbers `from` to `until` of this origin and destination. */
export type Gap = Omit<Extract<HubControlFrame, { type: 'gap' }>, 'type' | 'payload'>

/** What `hub.on` hears. */
export interface HubEvents {
  state: StateChange
  gap: Gap
  /** Errors that belong to no call: a listener that threw, a payload that is not JSON, a refusal that cannot be placed. */
  error: unknown
}

/** How long `close` waits for handlers under way and acknowledgements. */
const drainMs = 5_000

/** One client's connection to the hub, kept up until it is closed or refused for good. Made by `connect` or `open`. */
export class Hub implements AsyncDisposable {
  readonly #credential: Credential
  readonly #options: HubOptions
  readonly #subject: string
  readonly #listeners: Listeners<HubEvents>
  readonly #link: Link
  readonly #outbound: Outbound
  readonly #positions = new Positions()
  readonly #calls: Calls
  readonly #groups: Groups
  readonly #requests: Requests
  readonly #handlers: Handlers
  readonly #records: Records
  readonly #watches: Watches
  readonly #announcements: Announcements
  readonly #timeoutMs: number
  #resume: Omit<Resumable, 'positions'> | undefined
  #greeted: string[] = []
  #ready = deferred<void>()
  #closing: Promise<void> | undefined

  /** Throws `bad_token` and `bad_field`; connects when `start` is called. */
  constructor(credential: Credential, options: HubOptions, dial: Dial) {
    this.#credential = credential
    this.#options = options
    this.#subject = readToken(credential.token).sub
    this.#timeoutMs = options.timeoutMs ?? 30_000
    const report = (error: unknown) => this.#report(error)
    this.#listeners = new Listeners((error) => this.#report(error))
    this.#link = new Link(
      {
        urls: credential.urls,
        line: (url, events) => this.#line(url, events, dial),
        backoff: options.backoff ?? { baseMs: 250, maxMs: 15_000 },
        random: Math.random,
      },
      {
        up: (welcome) => this.#up(welcome),
        down: () => this.#down(),
        frame: (frame) => this.#take(frame),
        state: (change) => this.#tell(change),
        closed: (error) => this.#closed(error),
      },
    )
    const link = this.#link
    const isConnected = () => link.state === 'connected'
    this.#outbound = new Outbound((frame) => void link.send(frame))
    this.#calls = new Calls((frame) => link.send(frame), this.#timeoutMs)
    this.#groups = new Groups(options.groups ?? [], this.#calls, this.#positions, isConnected)
    this.#requests = new Requests(this.#outbound, (frame) => link.send(frame), report)
    this.#handlers = new Handlers(this.#outbound, report)
    this.#records = new Records(this.#calls)
    this.#watches = new Watches((frame) => link.send(frame), report)
    this.#announcements = new Announcements({ records: this.#records, isConnected, report })
  }

  /** `connecting` until the first welcome, `reconnecting` between two connections, `closed` for ever. */
  get state(): HubState {
    return this.#link.state
  }

  /** Id of the session; undefined before the first welcome. */
  get session(): string | undefined {
    return this.#resume?.session
  }

  /** Who this client is: `SERVICE/INSTANCE`. */
  get subject(): string {
    return this.#subject
  }

  /** What it connects with. It is a secret. */
  get credential(): Credential {
    return this.#credential
  }

  /** Begins to connect. */
  start(): void {
    this.#link.start()
  }

  /** Hears changes of state, gaps, and errors that belong to no call. */
  on<E extends keyof HubEvents>(event: E, listener: (value: HubEvents[E]) => void): Disposable {
    return this.#listeners.on(event, listener)
  }

  /** Resolves when connected; rejects when closed, or refused for good. */
  ready(signal?: AbortSignal): Promise<void> {
    return quiet(unlessAborted(this.#ready.promise, signal))
  }

  /** Becomes a member of a group, also of later sessions. Rejects with `denied` and leaves it at that. */
  join(group: string, signal?: AbortSignal): Promise<void> {
    return quiet(this.#groups.join(group, signal))
  }

  leave(group: string): Promise<void> {
    return quiet(this.#groups.leave(group))
  }

  /** Every member of a group. */
  group(name: string): Destination {
    return this.#destination(`group/${name}`, false)
  }

  /** One member of a group, which the hub chooses. */
  any(name: string): Destination {
    return this.#destination(`group/${name}`, true)
  }

  /** One client, in all its sessions. */
  client(service: string, instance: string): Destination {
    return this.#destination(`client/${service}/${instance}`, false)
  }

  /** Every client. */
  all(): Destination {
    return this.#destination('all', false)
  }

  /** Hears messages with this event, or those that begin alike when it ends with `*`. */
  receive(event: string, listener: MessageListener): Disposable {
    return this.#handlers.receive(event, listener)
  }

  /** Answers requests with this event; the most particular handler is asked. Throws `bad_field` when it has one already. */
  handle(event: string, handler: RequestHandler): Disposable {
    return this.#handlers.handle(event, handler)
  }

  get(key: string): Promise<RecordEntry | undefined> {
    return quiet(this.#records.get(key))
  }

  list(prefix: string): Promise<RecordEntry[]> {
    return quiet(this.#records.list(prefix))
  }

  /** Writes a record once; `announce` is what keeps one alive. `unknown_outcome` when the connection is lost meanwhile. */
  put(key: string, value: unknown, options?: PutOptions): Promise<Written> {
    return quiet(this.#records.put(key, value, options))
  }

  /** Changes the value of a leased record of this session. */
  patch(key: string, value: unknown): Promise<Written> {
    return quiet(this.#records.patch(key, value))
  }

  drop(key: string, reason: string): Promise<void> {
    return quiet(this.#records.drop(key, reason))
  }

  /** The records under a prefix, and every change of them. Throws `bad_field` for what is no prefix. */
  watch<T = unknown>(prefix: string): Watch<T> {
    return this.#watches.watch(prefix)
  }

  /** Keeps a leased record alive over reconnects. Throws `bad_field` and `too_large`. */
  announce<T>(key: string, value: T): Announcement<T> {
    return this.#announcements.announce(key, value)
  }

  /**
   * Refuses new requests as `draining`, waits up to 5 s for handlers under way and acknowledgements, says bye, and is
   * closed for ever. What is still open rejects with `closed` or `unknown_outcome`. The hub ends this client's leases.
   */
  close(reason = 'closed'): Promise<void> {
    this.#closing ??= this.#close(reason)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(reason: string): Promise<void> {
    this.#handlers.drain()
    if (this.#link.state === 'connected') {
      const late = deferred<void>()
      const timer = setTimeout(late.resolve, drainMs)
      const down = this.on('state', () => late.resolve())
      await Promise.race([this.#handlers.idle().then(() => this.#outbound.empty()), late.promise])
      down[Symbol.dispose]()
      clearTimeout(timer)
    }
    await this.#link.close(reason, damonError('closed'))
  }

  #destination(to: string, any: boolean): Destination {
    return new Destination(to, any, {
      outbound: this.#outbound,
      requests: this.#requests,
      timeoutMs: this.#timeoutMs,
    })
  }

  #line(url: string, events: LineEvents, dial: Dial): Line {
    const { codec = 'binary', lookup, name, version } = this.#options
    const { ca } = this.#credential
    const settings = { url, dial, codec, ca, lookup, random: Math.random }
    const says = [name, version].filter(Boolean).join('/').slice(0, 64) || undefined
    return new Line(
      {
        ...settings,
        hello: async (nonce, host) => {
          const resume = this.#resume && { ...this.#resume, positions: this.#positions.list() }
          const groups = this.#groups.list()
          const frame = await hello(this.#credential, { nonce, host, codec }, { version: says, groups, resume })
          this.#greeted = frame.groups ?? []
          return frame
        },
      },
      events,
    )
  }

  #up({ session, ticket, epoch, resumed, done, frameBytes, positions }: WelcomeFrame): void {
    this.#resume = { session, ticket, epoch, ack: resumed ? (this.#resume?.ack ?? 0) : 0 }
    if (!resumed) {
      this.#positions.reset(positions)
      this.#handlers.lost(damonError('disconnected'))
      // Before new numbers begin, which would be taken for the old ones.
      this.#requests.lost()
    }
    this.#outbound.up(session, resumed, done, frameBytes)
    // What waits first: a call made from here on is sent at once, and must not be sent again as one that waited.
    this.#calls.up()
    const greeted = new Set(this.#greeted)
    const rest = this.#groups.list().filter((group) => !greeted.has(group))
    this.#groups.joinRest(rest).catch((error: unknown) => this.#report(error))
    this.#watches.up()
    this.#announcements.up()
    this.#ready.resolve()
  }

  #down(): void {
    this.#ready = deferred()
    this.#outbound.down()
    this.#calls.down()
    this.#watches.down()
  }

  #closed(error: DamonError): void {
    const byUser = error.code === 'closed'
    this.#ready.reject(error)
    this.#ready = deferred()
    this.#ready.reject(error)
    this.#announcements.close(error)
    this.#watches.close(byUser ? undefined : error)
    this.#handlers.lost(error)
    this.#requests.close(error)
    this.#outbound.close(error)
    this.#calls.close(error)
  }

  #take(frame: HubFrame): void {
    switch (frame.type) {
      case 'message':
        this.#message(frame)
        return
      case 'verdict':
        if (this.#positions.pass(frame.origin, this.#own, frame.seq)) this.#requests.verdict(frame)
        return
      case 'part':
        if (this.#positions.pass(frame.origin, this.#own, frame.seq)) this.#requests.part(frame)
        return
      case 'settled':
        this.#requests.settled(frame.request)
        return
      case 'ack':
        if (this.#resume && frame.seq !== undefined) this.#resume.ack = frame.seq
        if (frame.number !== undefined) this.#outbound.acknowledge(frame.number)
        if (frame.id !== undefined) this.#calls.acknowledge(frame)
        return
      case 'error':
        this.#refuse(frame)
        return
      case 'records':
        if (!this.#calls.records(frame)) this.#watches.records(frame)
        return
      case 'gap': {
        const { origin, to, from, until } = frame
        this.#positions.raise([{ origin, to, seq: until }])
        this.#listeners.emit('gap', { origin, to, from, until })
      }
    }
  }

  #message(frame: MessageFrame): void {
    const destination = frame.any ? this.#own : frame.to
    const isNew =
      this.#positions.pass(frame.origin, destination, frame.seq) &&
      this.#positions.passSender(frame.session, destination, frame.number, frame.again)
    if (isNew) this.#handlers.take(frame, this.#resume?.session ?? '')
  }

  #refuse(frame: Extract<HubControlFrame, { type: 'error' }>): void {
    const error = refusal(frame)
    if (frame.id !== undefined) {
      if (!this.#calls.refuse(frame.id, error)) this.#watches.refuse(frame.id, error)
    } else if (frame.number !== undefined) {
      this.#outbound.refuse(frame.number, error)
      this.#requests.refuse(frame.number, error)
    } else {
      this.#report(error)
    }
  }

  /** The destination that stands for this very session. */
  get #own(): string {
    return `session/${this.#resume?.session ?? ''}`
  }

  #tell(change: StateChange): void {
    if (this.#options.onState) {
      try {
        this.#options.onState(change)
      } catch (error) {
        this.#report(error)
      }
    }
    this.#listeners.emit('state', change)
  }

  #report(error: unknown): void {
    // A listener for errors that throws must not be told of its own error.
    if (this.#reporting || !this.#hears(error)) warn(error)
  }

  #reporting = false

  #hears(error: unknown): boolean {
    this.#reporting = true
    try {
      return this.#listeners.emit('error', error)
    } finally {
      this.#reporting = false
    }
  }
}
