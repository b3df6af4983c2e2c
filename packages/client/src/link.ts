import { type DamonError, damonError } from '@damon/protocol/errors'
import type { ClientFrame, HubFrame } from '@damon/protocol/frames'
import { Backoff, type BackoffBounds } from './backoff.ts'
import { deferred } from './deferred.ts'
import type { Line, LineEvents, WelcomeFrame } from './line.ts'
import type { LineEnd } from './refusal.ts'

/** `connecting` until the first welcome, `reconnecting` between two connections, `closed` for ever. */
export type HubState = 'connecting' | 'connected' | 'reconnecting' | 'closed'

/** A change of state, or one more failed attempt in the same state. */
export interface StateChange {
  state: HubState
  /**
   * Why the last connection or attempt ended: a name of the table of close codes (`restarting`, `token_expired`, …), a
   * code of the table of errors when the hub refused, or `unreachable`, `lost`, `silent`, `garbled`, `handshake`, `goaway`.
   * When `connected` and not `resumed`: why the session could not go on, in the hub's words.
   */
  reason?: string
  error?: DamonError
  /** When `connected`: whether the session goes on. If not, what was unacknowledged has an unknown outcome. */
  resumed?: boolean
  session?: string
  /** The hub that is connected, or was tried. */
  url?: string
  /** Milliseconds until the next attempt. */
  retryMs?: number
}

/** A connection that held this long was a good one: the backoff starts anew. */
const stableMs = 10_000

/** What a link tells. */
export interface LinkEvents {
  up(welcome: WelcomeFrame): void
  /** The connection is gone; the session may come back. */
  down(): void
  frame(frame: HubFrame): void
  state(change: StateChange): void
  /** For ever: by `close`, or refused for good with this error. */
  closed(error: DamonError): void
}

/** Keeps one line to one of several hubs up: dials, waits, dials the next, until closed or refused for good. */
export class Link {
  readonly #urls: readonly string[]
  readonly #makeLine: (url: string, events: LineEvents) => Line
  readonly #random: () => number
  readonly #backoff: Backoff
  readonly #events: LinkEvents
  readonly #ended = deferred<void>()
  #state: HubState = 'connecting'
  #line: Line | undefined
  #at = 0
  #upSince: number | undefined
  #retryTimer: ReturnType<typeof setTimeout> | undefined
  #goawayTimer: ReturnType<typeof setTimeout> | undefined
  #leaving: DamonError | undefined

  constructor(
    options: {
      urls: readonly string[]
      line: (url: string, events: LineEvents) => Line
      backoff: BackoffBounds
      random: () => number
    },
    events: LinkEvents,
  ) {
    this.#urls = options.urls
    this.#makeLine = options.line
    this.#random = options.random
    this.#backoff = new Backoff(options.backoff, options.random)
    this.#events = events
  }

  get state(): HubState {
    return this.#state
  }

  /** Dials. */
  start(): void {
    if (this.#state === 'closed') return
    const url = this.#url
    try {
      // A dial that fails tells it later, when #line is set; only a bad URL throws.
      this.#line = this.#makeLine(url, {
        welcome: (welcome) => this.#welcome(welcome, url),
        frame: (frame) => this.#frame(frame),
        end: (end) => this.#down(end, url),
      })
    } catch (cause) {
      const error = damonError('disconnected', `${url} cannot be dialled.`, { cause })
      this.#down({ reason: 'unreachable', error, retry: true }, url)
    }
  }

  /** Sends a frame now; says false when there is no connection. */
  send(frame: ClientFrame): boolean {
    if (this.#state !== 'connected') return false
    this.#line?.send(frame)
    return true
  }

  /** Says bye, waits for the hub's close (at most two seconds), and is closed for ever. */
  close(reason: string, error: DamonError): Promise<void> {
    if (this.#state === 'closed') return this.#ended.promise
    this.#leaving ??= error
    clearTimeout(this.#retryTimer)
    clearTimeout(this.#goawayTimer)
    if (this.#line) this.#line.leave(reason)
    else this.#close({ reason: 'bye', error, retry: false })
    return this.#ended.promise
  }

  get #url(): string {
    return this.#urls[this.#at % this.#urls.length] ?? ''
  }

  #welcome(welcome: WelcomeFrame, url: string): void {
    this.#upSince = performance.now()
    this.#state = 'connected'
    this.#events.up(welcome)
    const { resumed, session, reason } = welcome
    this.#events.state({ state: 'connected', resumed, session, url, ...(reason === undefined ? {} : { reason }) })
  }

  #frame(frame: HubFrame): void {
    if (frame.type === 'goaway') {
      const next = this.#urls.findIndex((url) => frame.hubs?.includes(url))
      clearTimeout(this.#goawayTimer)
      this.#goawayTimer = setTimeout(
        () => {
          // Only hubs of the connection file: a hub cannot send a client elsewhere.
          if (next >= 0) this.#at = next
          this.#backoff.reset()
          this.#line?.hangUp('goaway')
        },
        frame.afterMs + this.#random() * frame.withinMs,
      )
    } else this.#events.frame(frame)
  }

  #down(end: LineEnd, url: string): void {
    this.#line = undefined
    clearTimeout(this.#goawayTimer)
    const wasUp = this.#upSince
    this.#upSince = undefined
    const { reason, error, retry } = end
    if (this.#leaving || !retry) {
      this.#close(this.#leaving ? { reason: 'bye', error: this.#leaving, retry } : end, url)
      return
    }
    if (wasUp === undefined) this.#at = (this.#at + 1) % this.#urls.length
    else if (performance.now() - wasUp >= stableMs) this.#backoff.reset()
    // The hub spread its clients already when it told them to go.
    const retryMs = reason === 'goaway' ? 0 : this.#backoff.next() + (end.retryAfterMs ?? 0)
    if (wasUp !== undefined) this.#state = 'reconnecting'
    this.#retryTimer = setTimeout(() => this.start(), retryMs)
    if (wasUp !== undefined) this.#events.down()
    this.#events.state({ state: this.#state, reason, error, url, retryMs })
  }

  #close({ reason, error }: LineEnd, url?: string): void {
    this.#state = 'closed'
    this.#events.closed(error)
    this.#events.state({ state: 'closed', reason, error, ...(url === undefined ? {} : { url }) })
    this.#ended.resolve()
  }
}
