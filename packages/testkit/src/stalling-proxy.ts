import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** Where a TCP connection goes. */
export interface Target {
  host: string
  port: number
}

/** A bad line: what arrives late, and how often nothing arrives for a while, as when a packet is lost. */
export interface Slowness {
  delayMs: number
  /** Chance of a stall with each piece that passes, 0 to 1. */
  stalls: number
  stallMs: number
  /** 0 to below 1. */
  random(): number
}

/** A TCP proxy that can behave as a network does when it fails without a word. */
export interface StallingProxy extends AsyncDisposable {
  readonly host: string
  readonly port: number
  /** Connections that clients hold open now. */
  readonly connections: number
  /** From now on nothing arrives at either end, also no close; senders notice nothing, new connections are accepted. */
  stall(): void
  /** The network is back: what was held arrives, in order. */
  resume(): void
  /** From now on everything takes its time, in order; undefined: as fast as it goes again. */
  slow(how: Slowness | undefined): void
  /** Breaks every connection at both ends, with a reset. */
  cut(): void
  /** Breaks every connection at the client's end only: the server is told nothing, as when a client's network is gone. */
  abandon(): void
  /** Where new connections go. */
  retarget(target: Target): void
}

/** Starts a proxy in front of a TCP server, on a loopback port of its own. */
export async function startProxy(target: Target): Promise<StallingProxy> {
  const pairs = new Set<Pair>()
  /** What servers still take for connections. */
  const abandoned = new Set<Socket>()
  let destination = target
  let stalled = false
  let slowness: Slowness | undefined
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ ...destination, allowHalfOpen: true, noDelay: true })
    const pair = { near, far, lanes: [new Lane(near, far), new Lane(far, near)] }
    pairs.add(pair)
    near.once('close', () => pairs.delete(pair))
    for (const lane of pair.lanes) {
      lane.slow(slowness)
      if (stalled) lane.stall()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { address, port } = server.address() as AddressInfo
  const everyLane = (act: (lane: Lane) => void) => {
    for (const pair of pairs) pair.lanes.forEach(act)
  }
  const proxy: StallingProxy = {
    host: address,
    port,
    get connections() {
      return pairs.size
    },
    stall() {
      stalled = true
      everyLane((lane) => lane.stall())
    },
    resume() {
      stalled = false
      everyLane((lane) => lane.resume())
    },
    slow(how) {
      slowness = how
      everyLane((lane) => lane.slow(how))
    },
    cut() {
      for (const { near, far } of pairs) {
        near.resetAndDestroy()
        far.resetAndDestroy()
      }
      pairs.clear()
    },
    abandon() {
      for (const { near, far, lanes } of pairs) {
        for (const lane of lanes) lane.stall()
        abandoned.add(far)
        far.once('close', () => abandoned.delete(far))
        near.resetAndDestroy()
      }
    },
    retarget(next) {
      destination = next
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      proxy.cut()
      for (const far of abandoned) far.resetAndDestroy()
      await closed
    },
  }
  return proxy
}

interface Pair {
  near: Socket
  far: Socket
  lanes: Lane[]
}

/** One direction of one connection: passes bytes, the end and a break on, or holds them while it is stalled or slow. */
class Lane {
  readonly #from: Socket
  readonly #held: (() => void)[] = []
  /** What is on its way, with the monotonic ms at which it arrives. */
  readonly #underWay: { at: number; step: () => void }[] = []
  #stalled = false
  #slowness: Slowness | undefined

  constructor(from: Socket, to: Socket) {
    this.#from = from
    from.on('data', (bytes) => this.#pass(() => to.write(bytes) || this.#holds || from.pause()))
    from.on('end', () => this.#pass(() => to.end()))
    from.on('error', () => this.#pass(() => to.resetAndDestroy()))
    from.on('close', () => this.#pass(() => to.destroySoon()))
    to.on('drain', () => from.resume())
  }

  stall(): void {
    this.#stalled = true
    // Keeps reading: a sender that is slowed down would notice.
    this.#from.resume()
  }

  resume(): void {
    this.#stalled = false
    for (const step of this.#held.splice(0)) step()
  }

  slow(how: Slowness | undefined): void {
    this.#slowness = how
  }

  get #holds(): boolean {
    return this.#stalled || this.#slowness !== undefined
  }

  #pass(step: () => void): void {
    const { delayMs = 0, stalls = 0, stallMs = 0, random } = this.#slowness ?? {}
    if (!this.#slowness && this.#underWay.length === 0) this.#arrive(step)
    else {
      const wait = delayMs + (random && random() < stalls ? stallMs : 0)
      const at = Math.max(performance.now() + wait, this.#underWay.at(-1)?.at ?? 0)
      if (this.#underWay.push({ at, step }) === 1) this.#wait()
    }
  }

  #arrive(step: () => void): void {
    if (this.#stalled) this.#held.push(step)
    else step()
  }

  #wait(): void {
    const first = this.#underWay[0]
    if (!first) return
    setTimeout(
      () => {
        while (this.#underWay[0] && this.#underWay[0].at <= performance.now()) {
          const { step } = this.#underWay.shift()!
          this.#arrive(step)
        }
        this.#wait()
      },
      Math.max(first.at - performance.now(), 0) + 1,
    )
  }
}
