import { damonError } from '@damon/protocol/errors'
import type { Codec } from '@damon/protocol/frames'
import type { Credential } from '@damon/trust/credential'
import { readToken } from '@damon/trust/token'
import type { Announcement } from './announcement.ts'
import type { BackoffBounds } from './backoff.ts'
import type { EventContract, InputOf, OutputOf, RecordContract, RequestContract, Schema } from './contract.ts'
import { deferred, quiet, unlessAborted } from './deferred.ts'
import { Destination } from './destination.ts'
import type { HandleOptions, MessageListener, RequestHandler } from './handlers.ts'
import type { HubState, StateChange } from './link.ts'
import { guard, Listeners, warn } from './listeners.ts'
import type { RecordEntry } from './record-entry.ts'
import type { CallOptions, DropOptions, PutOptions, Written } from './records.ts'
import { type Gap, Session } from './session.ts'
import type { Dial, Lookup } from './transport.ts'
import type { Watch } from './watch.ts'

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
  lookup?: Lookup
  /** Hears every change of state from the very first. */
  onState?(change: StateChange): void
}

/** What `hub.on` hears. */
export interface HubEvents {
  state: StateChange
  gap: Gap
  /** A watch had something else than the hub, and reads it anew. */
  resync: { prefix: string }
  /** Errors that belong to no call: a listener that threw, a payload that is not JSON, a refusal that cannot be placed. */
  error: unknown
}

/** How long `close` waits for handlers under way and acknowledgements. */
const drainMs = 5_000

/** One client's connection to the hub, kept up until it is closed or refused for good. Made by `connect` or `open`. */
export class Hub implements AsyncDisposable {
  readonly #credential: Credential
  readonly #subject: string
  readonly #onState: ((change: StateChange) => void) | undefined
  readonly #listeners: Listeners<HubEvents>
  readonly #session: Session
  readonly #timeoutMs: number
  #ready = deferred<void>()
  #wasReady = false
  #closing: Promise<void> | undefined
  #reporting = false

  /** Throws `bad_token` and `bad_field`; connects when `start` is called. */
  constructor(credential: Credential, options: HubOptions, dial: Dial) {
    const { name, version, groups = [], codec = 'binary', timeoutMs = 30_000, lookup, onState } = options
    this.#credential = credential
    this.#subject = readToken(credential.token).sub
    this.#onState = onState
    this.#timeoutMs = timeoutMs
    this.#listeners = new Listeners((error) => this.#report(error))
    this.#session = new Session(
      {
        ...{ credential, subject: this.#subject, dial, codec, groups, timeoutMs, lookup },
        version: [name, version].filter(Boolean).join('/').slice(0, 64) || undefined,
        backoff: options.backoff ?? { baseMs: 250, maxMs: 15_000 },
      },
      {
        state: (change) => this.#changed(change),
        gap: (gap) => void this.#listeners.emit('gap', gap),
        resync: (prefix) => void this.#listeners.emit('resync', { prefix }),
        error: (error) => this.#report(error),
      },
    )
  }

  /** `connecting` until the first welcome, `reconnecting` between two connections, `closed` for ever. */
  get state(): HubState {
    return this.#session.link.state
  }

  /** Id of the session; undefined before the first welcome. */
  get session(): string | undefined {
    return this.#session.id
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
    this.#session.link.start()
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
    return quiet(this.#session.groups.join(group, signal))
  }

  leave(group: string, signal?: AbortSignal): Promise<void> {
    return quiet(this.#session.groups.leave(group, signal))
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

  /**
   * Hears messages with this event, or those that begin alike when it ends with `*`. A value that does not fit the
   * contract is an error of the hub (`on('error')`, code `bad_payload`), and the listener is not called.
   */
  receive<Value extends Schema>(event: EventContract<Value>, listener: MessageListener<OutputOf<Value>>): Disposable
  receive(event: string, listener: MessageListener): Disposable
  receive(what: string | EventContract, listener: MessageListener): Disposable {
    if (typeof what === 'string') return this.#session.handlers.receive(what, listener)
    return this.#session.handlers.receive(what.event, listener, what.value)
  }

  /**
   * Answers requests with this event; the most particular handler is asked. A value that does not fit the contract is
   * `failed` with `bad_payload`, and the handler not asked. Throws `bad_field` when the event has a handler already.
   */
  handle<Asks extends Schema, Answers extends Schema, Parts extends Schema>(
    request: RequestContract<Asks, Answers, Parts>,
    handler: RequestHandler<OutputOf<Asks>, InputOf<Answers>, InputOf<Parts>>,
    options?: HandleOptions,
  ): Disposable
  handle(event: string, handler: RequestHandler, options?: HandleOptions): Disposable
  handle(what: string | RequestContract, handler: RequestHandler<never>, options: HandleOptions = {}): Disposable {
    const answer = handler as RequestHandler
    if (typeof what === 'string') return this.#session.handlers.handle(what, answer, options)
    return this.#session.handlers.handle(what.event, answer, options, what.asks)
  }

  /** The record as it is now. Rejects with `bad_payload` when its value is not as the contract says. */
  get<Value extends Schema>(
    record: RecordContract<Value>,
    options?: CallOptions,
  ): Promise<RecordEntry<OutputOf<Value>> | undefined>
  get(key: string, options?: CallOptions): Promise<RecordEntry | undefined>
  get(record: string | RecordContract, options?: CallOptions): Promise<RecordEntry | undefined> {
    return quiet(this.#session.records.get(record, options))
  }

  /** The records under a prefix. Those that are not as the contract says are reported as errors, and left out. */
  list<Value extends Schema>(
    records: RecordContract<Value>,
    options?: CallOptions,
  ): Promise<RecordEntry<OutputOf<Value>>[]>
  list(prefix: string, options?: CallOptions): Promise<RecordEntry[]>
  list(records: string | RecordContract, options?: CallOptions): Promise<RecordEntry[]> {
    return quiet(this.#session.records.list(records, options))
  }

  /** Writes a record once; `announce` is what keeps one alive. `unknown_outcome` when the connection is lost meanwhile. */
  put<Value extends Schema>(
    record: RecordContract<Value>,
    value: InputOf<Value>,
    options?: PutOptions,
  ): Promise<Written>
  put(key: string, value: unknown, options?: PutOptions): Promise<Written>
  put(record: string | RecordContract, value: unknown, options?: PutOptions): Promise<Written> {
    return quiet(this.#session.records.put(record, value, options))
  }

  /** Changes the value of a leased record of this session. */
  patch<Value extends Schema>(
    record: RecordContract<Value>,
    value: InputOf<Value>,
    options?: CallOptions,
  ): Promise<Written>
  patch(key: string, value: unknown, options?: CallOptions): Promise<Written>
  patch(record: string | RecordContract, value: unknown, options?: CallOptions): Promise<Written> {
    return quiet(this.#session.records.patch(record, value, options))
  }

  drop(record: string | RecordContract, reason: string, options?: DropOptions): Promise<void> {
    return quiet(this.#session.records.drop(record, reason, options))
  }

  /**
   * The records under a prefix, and every change of them, until closed or aborted. Those that are not as the contract
   * says are reported as errors, and count as not there. Throws `bad_field` for what is no prefix.
   */
  watch<Value extends Schema>(records: RecordContract<Value>, options?: CallOptions): Watch<OutputOf<Value>>
  watch<T = unknown>(prefix: string, options?: CallOptions): Watch<T>
  watch(records: string | RecordContract, options?: CallOptions): Watch {
    return this.#session.watches.watch(records, options)
  }

  /** Keeps a leased record alive over reconnects. Throws `bad_field` and `too_large`. */
  announce<Value extends Schema>(record: RecordContract<Value>, value: InputOf<Value>): Announcement<InputOf<Value>>
  announce<T>(key: string, value: T): Announcement<T>
  announce(record: string | RecordContract, value: unknown): Announcement {
    return this.#session.announcements.announce(record, value)
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
    this.#session.handlers.drain()
    if (this.#session.link.state === 'connected') {
      const late = deferred<void>()
      const timer = setTimeout(late.resolve, drainMs)
      const down = this.on('state', () => late.resolve())
      await Promise.race([this.#session.handlers.idle().then(() => this.#session.outbound.empty()), late.promise])
      down[Symbol.dispose]()
      clearTimeout(timer)
    }
    await this.#session.link.close(reason, damonError('closed'))
  }

  #destination(to: string, any: boolean): Destination {
    return new Destination(to, any, {
      outbound: this.#session.outbound,
      requests: this.#session.requests,
      timeoutMs: this.#timeoutMs,
    })
  }

  #changed(change: StateChange): void {
    const { state, error } = change
    // Those who wait keep waiting over every failed attempt; only a readiness that was is replaced.
    if (state !== 'connected' && this.#wasReady) this.#ready = deferred()
    this.#wasReady = state === 'connected'
    if (state === 'connected') this.#ready.resolve()
    else if (state === 'closed') this.#ready.reject(error)
    const onState = this.#onState
    if (onState)
      guard(
        () => onState(change),
        (thrown) => this.#report(thrown),
      )
    this.#listeners.emit('state', change)
  }

  #report(error: unknown): void {
    // A listener for errors that throws must not be told of its own error.
    if (this.#reporting || !this.#hears(error)) warn(error)
  }

  #hears(error: unknown): boolean {
    this.#reporting = true
    try {
      return this.#listeners.emit('error', error)
    } finally {
      this.#reporting = false
    }
  }
}
