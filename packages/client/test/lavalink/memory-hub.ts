import type { NodeState } from '@damon/protocol/records'
import type { FakeLavalink } from '@damon/testkit/fake-lavalink'
import type { Hub } from '../../src/hub.ts'
import type { RecordEntry } from '../../src/record-entry.ts'
import type { RecordChange } from '../../src/watch.ts'

type Handler = (value: unknown, request: { from: string }) => unknown

/** The part of a hub that `attachNodes` uses, with records that a test writes. */
export class MemoryHub {
  readonly hub: Hub
  /** What was sent to clients. */
  readonly sent: { to: string; event: string; value: unknown }[] = []
  state: 'connected' | 'reconnecting' = 'connected'
  readonly #entries = new Map<string, RecordEntry>()
  readonly #listeners = new Set<(change: RecordChange) => void>()
  readonly #handlers = new Map<string, Handler>()
  #revision = 0

  constructor() {
    const watch = (prefix: string) => this.#watch(prefix)
    const self = this
    this.hub = {
      get state() {
        return self.state
      },
      watch,
      handle: (event: string, handler: Handler) => {
        this.#handlers.set(event, handler)
        return { [Symbol.dispose]: () => void this.#handlers.delete(event) }
      },
      join: async () => {},
      client: (service: string, instance: string) => ({
        send: async (event: string, value: unknown) => {
          this.sent.push({ to: `${service}/${instance}`, event, value })
        },
      }),
    } as unknown as Hub
  }

  put(key: string, value: unknown, state: 'live' | 'suspect' = 'live'): void {
    const revision = ++this.#revision
    const entry = { key, value, bytes: new Uint8Array(), revision, generation: 1, state, leased: true }
    this.#entries.set(key, entry)
    this.#tell({ type: state === 'live' ? 'put' : 'suspect', key, entry, revision })
  }

  drop(key: string, reason: string): void {
    if (this.#entries.delete(key)) this.#tell({ type: 'drop', key, reason, revision: ++this.#revision })
  }

  /** Announces a Lavalink as its sidecar would. */
  node(id: string, lavalink: FakeLavalink, state: NodeState = 'ready', more: Record<string, unknown> = {}): void {
    const { players, playingPlayers, cpu, memory } = lavalink.stats
    this.put(`node-secret/${id}`, { password: lavalink.password })
    this.put(`node/${id}`, {
      ...{ state, reasons: [], since: ++this.#revision },
      address: { host: '127.0.0.1', port: lavalink.port, secure: false },
      ...{ version: '4.2.2', api: 'v4', sidecar: `sidecar/${id}` },
      load: {
        ...{ players, playingPlayers, ...cpu, uptime: 1 },
        ...{ memoryUsed: memory.used, memoryReservable: memory.reservable },
      },
      ...more,
    })
  }

  /** Takes a node's records away. */
  retire(id: string, reason = 'retired'): void {
    this.drop(`node/${id}`, reason)
    this.drop(`node-secret/${id}`, reason)
  }

  /** Asks as another client would. */
  async ask(event: string, value: unknown, from: string): Promise<unknown> {
    return this.#handlers.get(event)?.(value, { from })
  }

  #tell(change: RecordChange): void {
    for (const listener of [...this.#listeners]) listener(change)
  }

  #watch(prefix: string) {
    const entries = this.#entries
    return {
      get entries() {
        return new Map([...entries].filter(([key]) => key.startsWith(prefix)))
      },
      ready: () => new Promise<void>((resolve) => setImmediate(resolve)),
      on: (_event: 'change', listener: (change: RecordChange) => void) => {
        const own = (change: RecordChange) => {
          if (change.key.startsWith(prefix)) listener(change)
        }
        this.#listeners.add(own)
        // A real watch tells the records there are as its first changes.
        queueMicrotask(() => {
          for (const entry of entries.values())
            own({ type: entry.state === 'live' ? 'put' : 'suspect', key: entry.key, entry, revision: entry.revision })
        })
        return { [Symbol.dispose]: () => void this.#listeners.delete(own) }
      },
      [Symbol.dispose]() {},
    }
  }
}
