import { Duplex } from 'node:stream'
import { encodeClientFrame } from '@damon/protocol/codec-binary'
import type { ClientFrame, HubFrame } from '@damon/protocol/frames'
import { createLogger } from '@damon/runtime/logger'
import { parseCapabilities } from '@damon/trust/capabilities'
import { Registry } from 'prom-client'
import type { Context } from '../src/context.ts'
import { Delivery } from '../src/delivery.ts'
import { Departures } from '../src/departures.ts'
import { dispatch } from '../src/dispatch.ts'
import type { HubSocket, SocketOwner } from '../src/hub-socket.ts'
import type { Identity } from '../src/identity.ts'
import { Turns } from '../src/intake.ts'
import { createMetrics } from '../src/metrics.ts'
import { Flusher } from '../src/outbox.ts'
import { Publisher } from '../src/publisher.ts'
import { Rates } from '../src/rates.ts'
import { Acks } from '../src/receipts.ts'
import { Replica } from '../src/replica.ts'
import { Requests } from '../src/requests.ts'
import { Restraint } from '../src/restraint.ts'
import { Roster } from '../src/roster.ts'
import { Session } from '../src/session.ts'
import { Settlements } from '../src/settlements.ts'
import type { Store } from '../src/store.ts'
import { Tick } from '../src/tick.ts'
import { Watches } from '../src/watches.ts'
import { unwire } from './frames.ts'
import { type ManualBus, manualBus } from './manual-bus.ts'

/** The inside of one worker, with a bus and a store that do as the test says. */
export interface AWorker {
  bus: ManualBus
  context: Context
  registry: Registry
  /** What the store was asked, in order; each call waits for `store` if that says so. */
  calls: string[]
  /** Replaces what the store does. */
  store: Partial<Store>
  /** Sessions that ended. */
  ended: Session[]
  connect(): AConnection
}

/** A client's end of a connection to the worker. */
export interface AConnection {
  session: Session
  /** Everything that the worker wrote and the client read. */
  frames: HubFrame[]
  /** How the worker hung up: the close code, or `terminated`. */
  closed: number | 'terminated' | undefined
  send(frame: ClientFrame): void
  /** Says hello; who it is needs no proof here. */
  hello(groups?: string[]): void
  /** From now on the client reads nothing. */
  stall(): void
  resume(): void
  /** The line breaks. */
  cut(): void
}

const limits = { heartbeatMs: 60_000, helloMs: 60_000, frameBytes: 64 * 1024, outboxBytes: 4 * 1024, outboxFrames: 64 }

/** Builds one. */
export function aWorker(): AWorker {
  const registry = new Registry()
  const metrics = createMetrics(registry)
  const log = createLogger({ service: 'test', level: 'silent' })
  const bus = manualBus(7)
  const calls: string[] = []
  const overrides: Partial<Store> = {}
  const usual: Store = {
    epoch: 'e1',
    openSession: async () => ({ stamp: 0, heads: [] }),
    join: async () => ({ stamp: 0, heads: [] }),
    leave: async () => undefined,
    endSession: async () => undefined,
    release: async () => undefined,
    takeOver: async () => ({ refused: 'unknown_session' }),
    fence: async () => undefined,
    pick: async () => undefined,
    pickFor: async () => undefined,
    requests: async () => [],
    settled: async () => undefined,
    absent: async () => [],
    put: async () => ({ revision: 1, generation: 1 }),
    patch: async () => ({ refused: 'not_found' }),
    drop: async () => ({ refused: 'not_found' }),
    revision: async () => 0,
    snapshot: async () => ({ revision: 0, records: [] }),
    restore: async () => 0,
    renew: async () => true,
    sweep: async () => undefined,
  }
  const store = new Proxy(usual, {
    get(_, name: keyof Store) {
      if (name === 'epoch') return usual.epoch
      return (...args: unknown[]) => {
        calls.push(name)
        const does = (overrides[name] ?? usual[name]) as (...args: unknown[]) => unknown
        return does(...args)
      }
    },
  })
  const faults = { hole: () => undefined, gap: () => undefined, garbled: () => undefined }
  const delivery = new Delivery({ bus, metrics, faults })
  const tick = new Tick()
  const publisher = new Publisher({ bus, members: delivery, tick, metrics, fenced: () => undefined })
  const replica = new Replica({ log, metrics })
  const rights = parseCapabilities(['join:*', 'send:group/*', 'ask:group/*', 'get:*'], 'bot/a')
  let count = 0
  const identity = {
    hello: async () => ({ subject: `bot/c${++count}`, rights, expires: Date.now() + 3_600_000, jti: 't', key: 'k' }),
  } as unknown as Identity
  const departures = new Departures({ store, publisher, log })
  const roster = new Roster(departures, store)
  const context: Context = {
    log,
    metrics,
    identity,
    bus,
    store,
    publisher,
    delivery,
    replica,
    watches: new Watches(replica),
    requests: new Requests({ publisher, settlements: new Settlements(store), metrics }),
    roster,
    departures,
    flusher: new Flusher(tick),
    acks: new Acks(),
    turns: new Turns(tick),
    rates: new Rates(new Map()),
    restraint: new Restraint(),
    settings: limits,
  }
  const ended: Session[] = []
  return { bus, context, registry, calls, store: overrides, ended, connect: () => connect(context, ended) }
}

class ClientSocket extends Duplex {
  readonly frames: HubFrame[] = []
  bytesRead = 0
  #stalled = false
  #taken: (() => void) | undefined

  override _write(chunk: Buffer, _: string, taken: () => void): void {
    const take = () => {
      this.frames.push(...unwire(chunk))
      taken()
    }
    if (this.#stalled) this.#taken = take
    else take()
  }
  override _read(): void {}
  stall(): void {
    this.#stalled = true
  }
  free(): void {
    this.#stalled = false
    this.#taken?.()
    this.#taken = undefined
  }
}

function connect(context: Context, ended: Session[]): AConnection {
  const socket = new ClientSocket()
  const connection: AConnection = {
    frames: socket.frames,
    closed: undefined,
    session: undefined as unknown as Session,
    send: (frame) => void owner?.message(Buffer.from(encodeClientFrame(frame)), true),
    hello: (groups = []) => connection.send({ type: 'hello', token: 't', groups }),
    stall: () => socket.stall(),
    resume: () => socket.free(),
    cut: () => void owner?.gone(),
  }
  let owner: SocketOwner | undefined
  const ws = {
    belongTo: (session: SocketOwner) => {
      owner = session
    },
    pause: () => undefined,
    resume: () => undefined,
    close: (code: number) => {
      connection.closed ??= code
    },
    terminate: () => {
      connection.closed ??= 'terminated'
    },
  }
  connection.session = new Session({
    context,
    ws: ws as unknown as HubSocket,
    socket,
    codec: 'binary',
    address: '127.0.0.1',
    dispatch: (session, frame) => dispatch(session, frame, context),
    ended: (session) => {
      ended.push(session)
      if (session.registered) context.roster.end(session)
    },
  })
  return connection
}
