import { type DamonError, damonError } from '@damon/protocol/errors'
import type { Codec, HubControlFrame, HubFrame, HubPartFrame, MessageFrame, VerdictFrame } from '@damon/protocol/frames'
import type { Credential } from '@damon/trust/credential'
import { Announcements } from './announcements.ts'
import type { BackoffBounds } from './backoff.ts'
import { Calls } from './calls.ts'
import { Groups } from './groups.ts'
import { Handlers } from './handlers.ts'
import { hello, type Resumable } from './hello.ts'
import { Line, type LineEvents, type WelcomeFrame } from './line.ts'
import { Link, type StateChange } from './link.ts'
import { Outbound } from './outbound.ts'
import { Positions } from './positions.ts'
import { Records } from './records.ts'
import { refusal } from './refusal.ts'
import { Requests } from './requests.ts'
import type { Dial, Lookup } from './transport.ts'
import { Watches } from './watches.ts'

type ErrorFrame = Extract<HubControlFrame, { type: 'error' }>

/** Stands for the destination of what was sent to any one member of a group. */
const anyMember = 'any'

/** Messages that were lost on the way. */
export interface Gap {
  /** The destination: `all`, `group/NAME`, `client/SERVICE/INSTANCE`, or `session/ID` for what went to this very session. */
  to: string
  /** At most the numbers `from` to `until` of this origin; absent when the session was lost and nobody can say how many. */
  origin?: number
  from?: number
  until?: number
}

/** How a session connects and waits. */
export interface SessionSettings {
  credential: Credential
  /** Who this client is: `SERVICE/INSTANCE`. */
  subject: string
  dial: Dial
  codec: Codec
  /** What the client says of itself. */
  version: string | undefined
  groups: readonly string[]
  backoff: BackoffBounds
  /** Milliseconds that a call may wait for a connection and its answer. */
  timeoutMs: number
  lookup: Lookup | undefined
}

/** What a session tells. */
export interface SessionEvents {
  state(change: StateChange): void
  gap(gap: Gap): void
  /** A watch of this prefix had something else than the hub, and begins anew. */
  resync(prefix: string): void
  /** What belongs to no call. */
  error(error: unknown): void
}

/**
 * What one client has going with its hub, over all its connections: takes each frame to its part, and tells the parts,
 * in an order that matters, when a connection comes and goes.
 */
export class Session {
  readonly link: Link
  readonly groups: Groups
  readonly outbound: Outbound
  readonly requests: Requests
  readonly handlers: Handlers
  readonly records: Records
  readonly watches: Watches
  readonly announcements: Announcements
  readonly #settings: SessionSettings
  readonly #events: SessionEvents
  readonly #positions = new Positions()
  readonly #calls: Calls
  #resume: Omit<Resumable, 'positions' | 'done' | 'sent'> | undefined
  /** The groups of the last hello. */
  #greeted: string[] = []

  /** Throws `bad_field` for what is no group. */
  constructor(settings: SessionSettings, events: SessionEvents) {
    this.#settings = settings
    this.#events = events
    this.link = new Link(
      {
        urls: settings.credential.urls,
        line: (url, lineEvents) => this.#line(url, lineEvents),
        backoff: settings.backoff,
        random: Math.random,
      },
      {
        up: (welcome) => this.#up(welcome),
        down: () => this.#down(),
        frame: (frame) => this.#take(frame),
        state: (change) => events.state(change),
        closed: (error) => this.#closed(error),
      },
    )
    const isConnected = () => this.link.state === 'connected'
    const report = (error: unknown) => events.error(error)
    this.outbound = new Outbound((frame) => void this.link.send(frame))
    this.#calls = new Calls((frame) => this.link.send(frame), settings.timeoutMs)
    this.groups = new Groups(settings.groups, this.#calls, this.#positions, isConnected)
    this.requests = new Requests(this.outbound, (frame) => this.link.send(frame), report)
    this.handlers = new Handlers(this.outbound, report)
    this.records = new Records(this.#calls, report)
    this.watches = new Watches(
      (frame) => this.link.send(frame),
      report,
      (prefix) => events.resync(prefix),
    )
    this.announcements = new Announcements({ records: this.records, isConnected, report })
  }

  /** Undefined before the first welcome. */
  get id(): string | undefined {
    return this.#resume?.session
  }

  #line(url: string, events: LineEvents): Line {
    const { credential, dial, codec, lookup, version } = this.#settings
    return new Line(
      {
        ...{ url, dial, codec, lookup, ca: credential.ca, random: Math.random },
        hello: async (nonce, host) => {
          const { sent, settled: done } = this.outbound
          const resume = this.#resume && { ...this.#resume, positions: this.#positions.list(), done, sent }
          const groups = this.groups.list()
          const frame = await hello(credential, { nonce, host, codec }, { version, groups, resume })
          this.#greeted = frame.groups ?? []
          return frame
        },
      },
      events,
    )
  }

  #up(welcome: WelcomeFrame): void {
    const { session, ticket, epoch, resumed, ack } = welcome
    if (resumed) this.#checkResumed(welcome)
    const before = this.#resume?.session
    this.#resume = { session, ticket, epoch, ack }
    if (resumed) this.#goOn(welcome)
    else this.#begin(welcome)
    // What waits first: a call made from here on is sent at once, and must not be sent again as one that waited.
    this.#calls.up()
    const greeted = new Set(this.#greeted)
    const rest = this.groups.list().filter((group) => !greeted.has(group))
    this.groups.joinRest(rest).catch((error: unknown) => this.#events.error(error))
    this.watches.up(epoch)
    this.announcements.up(resumed && !welcome.lapsed)
    if (!resumed && before !== undefined) this.#tellLost(before)
  }

  /** A hub that is wrong here would make this client repeat, or leave out, what it must not. */
  #checkResumed({ session, done }: WelcomeFrame): void {
    const { sent, settled } = this.outbound
    if (session !== this.#resume?.session) throw damonError('bad_frame', 'The hub resumed another session.')
    if (done < settled || done > sent)
      throw damonError('bad_frame', `The hub settled ${done} of ${settled} to ${sent} numbers.`)
  }

  #goOn({ session, frameBytes, done, refused = [], positions }: WelcomeFrame): void {
    this.#positions.keep(positions)
    for (const number of refused) {
      const error = damonError('unavailable', 'The hub did not take it, and why was lost with the connection.')
      this.outbound.refuse(number, error)
      this.requests.refuse(number, error)
    }
    this.outbound.resume(session, frameBytes, done)
  }

  #begin({ session, frameBytes, positions }: WelcomeFrame): void {
    this.#positions.reset(positions)
    this.handlers.lost(damonError('disconnected'))
    // Before new numbers begin, which would be taken for the old ones.
    this.requests.lost()
    this.outbound.begin(session, frameBytes)
  }

  /** With a session goes whatever was on its way to it. */
  #tellLost(session: string): void {
    const own = `session/${session}`
    this.#positions.forget(own)
    const groups = this.groups.list().map((group) => `group/${group}`)
    for (const to of ['all', `client/${this.#settings.subject}`, own, ...groups]) this.#events.gap({ to })
  }

  #down(): void {
    this.outbound.down()
    this.#calls.down()
    this.watches.down()
  }

  #closed(error: DamonError): void {
    this.announcements.close(error)
    this.watches.close(error.code === 'closed' ? undefined : error)
    this.handlers.lost(error)
    this.requests.close(error)
    this.outbound.close(error)
    this.#calls.close(error)
  }

  #take(frame: HubFrame): void {
    switch (frame.type) {
      case 'message':
        this.#message(frame)
        break
      case 'verdict':
        if (this.#isNew(frame, this.#own)) this.requests.verdict(frame)
        break
      case 'part':
        if (this.#isNew(frame, this.#own)) this.requests.part(frame)
        break
      case 'cancel':
        if (this.#positions.pass(frame.origin, frame.to, frame.seq)) this.handlers.cancel(frame.session, frame.request)
        break
      case 'settled':
        if (frame.except || frame.lost) this.requests.settledUpTo(frame)
        else this.requests.settled(frame.request)
        break
      case 'ack':
        if (this.#resume && frame.origin !== undefined && frame.seq !== undefined)
          this.#resume.ack = { origin: frame.origin, seq: frame.seq }
        if (frame.number !== undefined) this.outbound.acknowledge(frame.number)
        if (frame.id !== undefined) this.#calls.acknowledge(frame)
        break
      case 'pong':
        if (frame.digests) this.watches.check(frame.digests)
        break
      case 'error':
        this.#refuse(frame)
        break
      case 'records':
        if (!this.#calls.records(frame)) this.watches.records(frame)
        break
      case 'gap': {
        const { origin, to, from, until } = frame
        this.#positions.raise([{ origin, to, seq: until }])
        this.#events.gap({ origin, to, from, until })
      }
    }
  }

  #message(frame: MessageFrame): void {
    // What is for any member of a group may have been for another one first: what else its sender says here says nothing of it.
    const isNew = frame.any ? this.#isNew(frame, this.#own, anyMember) : this.#isNew(frame, frame.to)
    if (!isNew) return
    const late = !this.#positions.inTurn(frame.session, frame.number) || frame.late
    this.handlers.take(late ? { ...frame, late } : frame, this.#resume?.session ?? '')
  }

  /** `sentTo`: among what its sender's numbers count, if not by where it came. */
  #isNew(
    { origin, seq, session, number, again }: MessageFrame | VerdictFrame | HubPartFrame,
    destination: string,
    sentTo = destination,
  ): boolean {
    return this.#positions.pass(origin, destination, seq) && this.#positions.passSender(session, sentTo, number, again)
  }

  #refuse(frame: ErrorFrame): void {
    const error = refusal(frame)
    if (frame.id !== undefined) {
      if (!this.#calls.refuse(frame.id, error)) this.watches.refuse(frame.id, error)
    } else if (frame.number !== undefined) {
      this.outbound.refuse(frame.number, error)
      this.requests.refuse(frame.number, error)
    } else {
      this.#events.error(error)
    }
  }

  /** The destination that stands for this very session. */
  get #own(): string {
    return `session/${this.#resume?.session ?? ''}`
  }
}
