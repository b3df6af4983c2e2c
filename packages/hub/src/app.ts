import { damonError } from '@damon/protocol/errors'
import { limits } from '@damon/protocol/limits'
import type { Logger } from '@damon/runtime/logger'
import { delay } from '@damon/runtime/retry'
import type { Arrive, Bus } from './bus.ts'
import type { Context } from './context.ts'
import { Delivery } from './delivery.ts'
import { Departures } from './departures.ts'
import { Desk } from './desk.ts'
import { dispatch } from './dispatch.ts'
import { askToLeave } from './goaway.ts'
import type { Identity } from './identity.ts'
import { Turns } from './intake.ts'
import { Lease } from './lease.ts'
import type { Connection } from './listener.ts'
import type { Metrics } from './metrics.ts'
import { Flusher } from './outbox.ts'
import { Publisher } from './publisher.ts'
import { Rates } from './rates.ts'
import { Readings } from './readings.ts'
import { Acks } from './receipts.ts'
import { Replica } from './replica.ts'
import { Requests } from './requests.ts'
import { rescue } from './rescue.ts'
import { Restraint } from './restraint.ts'
import { Roster } from './roster.ts'
import { type Dispatch, Session } from './session.ts'
import { Settlements } from './settlements.ts'
import { type Store, type StoreEvents, sweepMs } from './store.ts'
import { Tick } from './tick.ts'
import { Watches } from './watches.ts'

/** How much later than asked a client may leave, ms. */
const leaveSlackMs = 500

/** How long accepted frames may take into the log when the worker stops, ms. */
const lastAppendMs = 1_000

/** Looks at each session's life this many times a heartbeat. */
const checksPerHeartbeat = 16

/** Bus and store, over lines that end with it. */
export type Backbone = AsyncDisposable & { readonly bus: Bus; readonly store: Store }

/** What an app needs of the process around it. */
export interface AppOptions {
  /** Opens the backbone; what it tells goes to these. */
  open: (arrive: Arrive, events: StoreEvents) => Promise<Backbone>
  identity: Identity
  settings: Omit<Context['settings'], 'helloMs'>
  rates: ConstructorParameters<typeof Rates>[0]
  bus: 'cluster' | 'redis'
  log: Logger
  metrics: Metrics
  /** Told when the store comes or goes. */
  reachable: (ok: boolean) => void
  /** Told of an operator's wish that all workers are replaced, which every worker hears. */
  roll?: (wish: string) => void
  /** Told when the worker must end at once. */
  fenced: () => void
}

/** All that a worker is but its doors: takes connections, and serves them by the backbone. */
export class App {
  readonly context: Context
  readonly #sessions = new Set<Session>()
  readonly #lease: Lease
  readonly #backbone: Backbone
  readonly #timers: NodeJS.Timeout[]
  // The same for all sessions.
  readonly #dispatch: Dispatch = (session, frame) => dispatch(session, frame, this.context)
  readonly #end = (session: Session) => this.#ended(session)

  /** Resolves when it can take connections; rejects when the backbone cannot be opened. */
  static async start(options: AppOptions): Promise<App> {
    const { log, metrics } = options
    const replica = new Replica({ log, metrics })
    const lease = new Lease({
      log,
      fenced: () => fenced(),
      changed: (reachable) => {
        metrics.storeReachable.set(reachable ? 1 : 0)
        if (reachable) replica.resync()
        options.reachable(reachable)
      },
    })
    const garbled = (channel: string, error: unknown) => {
      metrics.garbled.inc()
      log.error({ err: error, channel }, 'what the bus brought cannot be read')
    }
    let ending = false
    const fenced = () => {
      if (ending) return
      ending = true
      // What it alone may still have is brought to safety first.
      if (built) rescue(replica, built.store, log).then(options.fenced)
      else options.fenced()
    }
    // What the store tells before everything is built concerns nobody.
    let built: Pick<Context, 'delivery' | 'publisher' | 'requests' | 'roster' | 'store'> | undefined
    const backbone = await options.open((batch, stamp) => built?.delivery.arrive(batch, stamp), {
      change: (change) => replica.take(change),
      gone: (sessions) => built?.requests.gone(sessions),
      over: (sessions) => {
        for (const session of sessions) built?.publisher.forget(`session/${session}`)
      },
      release: (session) => built?.roster.release(session),
      ended: (origin) => void built?.delivery.ended(origin),
      tails: (tails) => built?.delivery.behind(tails),
      interrupted: () => built?.delivery.interrupted(),
      connected: (ok) => {
        lease.connected(ok)
        if (ok) built?.delivery.audit()
      },
      garbled: (error) => garbled('store', error),
      cutOff: options.fenced,
    })
    const { bus, store } = backbone
    const delivery = new Delivery({
      bus,
      metrics,
      faults: {
        hole: (hole) => log.debug(hole, 'frames of another worker did not arrive: they are read from its log'),
        gap: (gap) => log.warn(gap, 'frames of another worker are missing and cannot be had: their receivers are told'),
        garbled,
      },
    })
    const tick = new Tick()
    const publisher = new Publisher({ bus, members: delivery, tick, metrics, fenced })
    const requests = new Requests({ publisher, settlements: new Settlements(store), metrics })
    const departures = new Departures({ store, publisher, log })
    const roster = new Roster(departures, store)
    const readings = new Readings(bus, { bytes: limits.replaysBytes, waitMs: limits.replayWaitMs })
    metrics.replayBytes(() => readings.held)
    built = { delivery, publisher, requests, roster, store }
    await lease.start(store)
    await replica.start(store)
    const context: Context = {
      log,
      metrics,
      identity: options.identity,
      bus,
      store,
      publisher,
      delivery,
      replica,
      watches: new Watches(replica),
      requests,
      roster,
      departures,
      readings,
      flusher: new Flusher(tick),
      acks: new Acks(),
      turns: new Turns(tick),
      rates: new Rates(options.rates),
      restraint: new Restraint(),
      settings: { ...options.settings, helloMs: limits.helloMs },
    }
    const app = new App(context, { backbone, lease })
    await app.#openDesk(options)
    return app
  }

  private constructor(context: Context, { backbone, lease }: { backbone: Backbone; lease: Lease }) {
    this.context = context
    this.#backbone = backbone
    this.#lease = lease
    const { heartbeatMs } = context.settings
    const tickMs = heartbeatMs / checksPerHeartbeat
    const check = () => {
      const now = performance.now()
      for (const session of this.#sessions) session.check(now, tickMs)
    }
    this.#timers = [
      setInterval(check, tickMs),
      setInterval(() => this.#compareRecords(), sweepMs),
      setInterval(() => this.#lookForGone(), heartbeatMs),
    ]
  }

  get origin(): number {
    return this.context.publisher.origin
  }

  /** False while the store does not answer. */
  get reachable(): boolean {
    return this.#lease.reachable
  }

  get sessions(): number {
    return this.#sessions.size
  }

  /** Serves one more connection. */
  connect(connection: Connection): void {
    const { context } = this
    this.#sessions.add(
      new Session({
        ...connection,
        context,
        dispatch: this.#dispatch,
        ended: this.#end,
      }),
    )
    context.metrics.sessions.set(this.#sessions.size)
  }

  /** Hangs up on those who do not take what they are sent. */
  closeSlow(): void {
    for (const session of [...this.#sessions]) if (session.egress.isSlow) session.close('slow_consumer')
  }

  /** Asks so many clients to connect again, within that time. */
  part({ count, withinMs }: { count: number; withinMs: number }): void {
    askToLeave([...this.#sessions].slice(-count), { reason: 'balance', withinMs, hubs: [] })
  }

  /** Asks all clients to go, to one of these hubs where there are any; resolves when they have, or that time is over. */
  async leave({ withinMs, hubs }: { withinMs: number; hubs: readonly string[] }): Promise<void> {
    if (withinMs === 0 || askToLeave(this.#sessions, { reason: 'restarting', withinMs, hubs }) === 0) return
    const leaveBy = performance.now() + withinMs + leaveSlackMs
    while (this.#sessions.size > 0 && performance.now() < leaveBy) await delay(20)
  }

  /** Another trust list counts, and sessions end whose token it does not accept. Rejects with DamonError `bad_trust_list`. */
  async trust(list: string): Promise<void> {
    const { identity } = this.context
    const before = identity.trust
    await identity.follow(list)
    for (const session of [...this.#sessions]) {
      const lost = session.isIdentified ? identity.lost(session.identified, before) : undefined
      if (lost) session.close(lost, damonError(lost === 'token_revoked' ? lost : 'denied', 'The trust list changed.'))
    }
  }

  /** Reads no more, waits until what was accepted is in the log and acknowledged, and hangs up. */
  async stop(): Promise<void> {
    const { publisher, replica, delivery, departures } = this.context
    for (const session of this.#sessions) session.quiet()
    const deadline = performance.now() + lastAppendMs
    while (publisher.waiting > 0 && performance.now() < deadline) await delay(5)
    for (const session of [...this.#sessions]) session.close('restarting')
    // Their clients are on their way to another worker.
    const late = new AbortController()
    await Promise.race([departures.allSettled(), delay(lastAppendMs, late.signal)]).finally(() => late.abort())
    for (const timer of this.#timers) clearInterval(timer)
    this.#lease.stop()
    replica.stop()
    departures.stop()
    delivery.stop()
    await this.#backbone[Symbol.asyncDispose]()
  }

  async #openDesk({ bus, roll = () => undefined }: AppOptions): Promise<void> {
    const { context } = this
    const began = performance.now()
    const desk = new Desk(
      context,
      () => ({
        worker: `w${this.origin}`,
        origin: this.origin,
        pid: process.pid,
        sessions: this.sessions,
        uptimeMs: Math.round(performance.now() - began),
        bus,
        reachable: this.reachable,
        records: context.replica.size,
        openRequests: context.requests.size,
      }),
      roll,
    )
    await desk.open()
  }

  #ended(session: Session): void {
    const { metrics, log, roster } = this.context
    this.#sessions.delete(session)
    metrics.sessions.set(this.#sessions.size)
    if (!session.registered) return
    log.info({ session: session.id, sub: session.subject, how: session.departure }, 'disconnected')
    roster.end(session)
  }

  #compareRecords(): void {
    const { store, replica } = this.context
    store.revision().then(
      (revision) => replica.compare(revision),
      () => undefined,
    )
  }

  /** What a lost word about ended sessions would leave open. */
  #lookForGone(): void {
    const { store, requests } = this.context
    store.absent(requests.awaited()).then(
      (absent) => requests.gone(absent),
      () => undefined,
    )
  }
}
