import { connect } from '@damon/client/connect'
import type { Hub, HubOptions } from '@damon/client/hub'
import type { Gap } from '@damon/client/session'
import { eventually } from '@damon/testkit/eventually'
import { type StallingProxy, startProxy } from '@damon/testkit/stalling-proxy'
import { expect } from 'vitest'
import type { House } from '../src/house.ts'

/** A client with everything that it was told. */
export interface Guest {
  hub: Hub
  /** Whether each welcome but the first let the session go on. */
  resumed: boolean[]
  /** Why, where it did not. */
  reasons: (string | undefined)[]
  gaps: Gap[]
}

/** A client whose line can be broken. */
export type GuestBehindProxy = Guest & { proxy: StallingProxy }

const rights = [
  'join:*',
  ...['all', 'group/*', 'client/*'].flatMap((to) => [`send:${to}`, `ask:${to}`]),
  'get:*',
  'put:thing/*',
]

/** Clients that are gone when they are disposed. */
export class Guests implements AsyncDisposable {
  readonly #open: AsyncDisposable[] = []
  #count = 0

  /** Connects one. */
  async come(house: House, url: string, options: HubOptions = {}): Promise<Guest> {
    const resumed: boolean[] = []
    const reasons: (string | undefined)[] = []
    const gaps: Gap[] = []
    const credential = await house.credential(url, `bot/r${++this.#count}`, rights)
    const hub = await connect(credential, {
      backoff: { baseMs: 20, maxMs: 200 },
      ...options,
      onState: (change) => {
        options.onState?.(change)
        if (change.state !== 'connected') return
        resumed.push(change.resumed ?? false)
        reasons.push(change.reason)
      },
    })
    hub.on('gap', (gap) => gaps.push(gap))
    this.#open.push(hub)
    resumed.shift()
    reasons.shift()
    return { hub, resumed, reasons, gaps }
  }

  /** Connects one through a proxy of its own. */
  async comeThroughProxy(house: House, url: string, options?: HubOptions): Promise<GuestBehindProxy> {
    const proxy = await startProxy(targetOf(url))
    this.#open.push(proxy)
    return { ...(await this.come(house, `wss://localhost:${proxy.port}`, options)), proxy }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const resource of this.#open.splice(0).reverse()) await resource[Symbol.asyncDispose]()
  }
}

/** Where a hub's URL leads on this machine. */
export function targetOf(url: string): { host: string; port: number } {
  return { host: '127.0.0.1', port: Number(new URL(url).port) }
}

/** The number of the worker that has a client's session. */
export async function workerOf(hub: Hub): Promise<number> {
  return eventually(async () => {
    const record = await hub.get(`service/${hub.subject}/${hub.session}`)
    const worker = (record?.value as { worker?: number } | undefined)?.worker
    expect(worker).toBeDefined()
    return worker as number
  })
}

/** The processes of all workers, by their numbers. */
export async function processes(hub: Hub): Promise<Map<number, number>> {
  const answers = await hub.group('hubs').request<{ origin: number; pid: number }>('hub.status', null)
  return new Map(answers.flatMap(({ value }) => (value ? [[value.origin, value.pid]] : [])))
}

/** Two clients that send to each other without pause, each by two addresses, and what came of it. */
export class Conversation implements AsyncDisposable {
  readonly #pair: readonly [Hub, Hub]
  readonly #ways: Way[]
  #going = true
  readonly #running: Promise<void>[]

  /** `group` is one that both are in. */
  constructor(one: Hub, two: Hub, group: string) {
    this.#pair = [one, two]
    this.#ways = [new Way(one, two), new Way(two, one), new Way(one, two, group), new Way(two, one, group)]
    this.#running = this.#ways.map((way) => way.run(() => this.#going))
  }

  /** Waits until so many more have come on every way. */
  async goesOn(count = 200): Promise<void> {
    const before = this.#ways.map(({ heard }) => heard.length)
    await eventually(
      () => {
        for (const [i, { heard, failures }] of this.#ways.entries()) {
          expect(failures).toEqual([])
          expect(heard.length).toBeGreaterThan((before[i] ?? 0) + count)
        }
      },
      { deadlineMs: 30_000 },
    )
  }

  /** Ends it: all that was sent has come, once and in order, and was acknowledged. */
  async endsWell(): Promise<void> {
    await this[Symbol.asyncDispose]()
    for (const way of this.#ways)
      await eventually(() => expect([way.failures, way.heard]).toEqual([[], way.sent]), { deadlineMs: 30_000 })
    for (const hub of this.#pair) expect(hub.state).toBe('connected')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#going = false
    await Promise.all(this.#running)
  }
}

/** What one client sends to another, by its address or a group of both. */
class Way {
  readonly sent: number[] = []
  readonly heard: unknown[] = []
  readonly failures: unknown[] = []
  readonly #from: Hub
  readonly #to: Hub
  readonly #group: string | undefined

  constructor(from: Hub, to: Hub, group?: string) {
    this.#from = from
    this.#to = to
    this.#group = group
    to.receive(group ? 'said.all' : 'said', (value, { session }) => {
      if (session === from.session) this.heard.push(value)
    })
  }

  async run(going: () => boolean): Promise<void> {
    const [service = '', instance = ''] = this.#to.subject.split('/')
    const to = this.#group ? this.#from.group(this.#group) : this.#from.client(service, instance)
    while (going() && this.failures.length === 0) {
      const burst = Array.from({ length: 10 }, () => {
        const number = this.sent.push(this.sent.length) - 1
        return to.send(this.#group ? 'said.all' : 'said', number).catch((error: unknown) => this.failures.push(error))
      })
      await Promise.all(burst)
    }
  }
}
