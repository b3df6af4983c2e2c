import { Duplex } from 'node:stream'
import { encodeClientFrame } from '@damon/protocol/codec-binary'
import type { ClientFrame, HubFrame } from '@damon/protocol/frames'
import { createLogger } from '@damon/runtime/logger'
import { parseCapabilities } from '@damon/trust/capabilities'
import { Registry } from 'prom-client'
import { App } from '../src/app.ts'
import type { Context } from '../src/context.ts'
import type { HubSocket, SocketOwner } from '../src/hub-socket.ts'
import type { Identity } from '../src/identity.ts'
import { createMetrics } from '../src/metrics.ts'
import type { Session } from '../src/session.ts'
import type { Store } from '../src/store.ts'
import { unwire } from './frames.ts'
import { type ManualBus, manualBus } from './manual-bus.ts'

/** The inside of one worker, with a bus and a store that do as the test says. */
export interface AWorker {
  bus: ManualBus
  context: Context
  registry: Registry
  /** What the store was asked for sessions, in order; each call waits for `store` if that says so. */
  calls: string[]
  /** Replaces what the store does. */
  store: Partial<Store>
  /** How many channels have members, but for those of the worker itself. */
  channels(): number
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

/** What a worker asks the store of its own accord, at any time. */
const housekeeping = new Set<string>(['renew', 'sweep', 'revision', 'absent', 'snapshot'])

/** Starts one. */
export async function aWorker(): Promise<AWorker> {
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
        if (!housekeeping.has(name)) calls.push(name)
        const does = (overrides[name] ?? usual[name]) as (...args: unknown[]) => unknown
        return does(...args)
      }
    },
  })
  const rights = parseCapabilities(['join:*', 'send:group/*', 'ask:group/*', 'get:*'], 'bot/a')
  let count = 0
  const identity = {
    hello: async () => ({ subject: `bot/c${++count}`, rights, expires: Date.now() + 3_600_000, jti: 't', key: 'k' }),
  } as unknown as Identity
  const app = await App.start({
    open: async () => ({ bus, store, [Symbol.asyncDispose]: async () => undefined }),
    identity,
    settings: limits,
    rates: new Map(),
    bus: 'cluster',
    log,
    metrics,
    reachable: () => undefined,
    fenced: () => undefined,
  })
  const { context } = app
  const own = context.delivery.size
  calls.length = 0
  bus.subscriptions.length = 0
  const channels = () => context.delivery.size - own
  return { bus, context, registry, calls, store: overrides, channels, connect: () => connect(app) }
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

function connect(app: App): AConnection {
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
  app.connect({ ws: ws as unknown as HubSocket, socket, codec: 'binary', address: '127.0.0.1' })
  connection.session = owner as unknown as Session
  return connection
}
