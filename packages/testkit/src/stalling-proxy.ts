import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** Where a TCP connection goes. */
export interface Target {
  host: string
  port: number
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
  /** Breaks every connection at both ends, with a reset. */
  cut(): void
  /** Where new connections go. */
  retarget(target: Target): void
}

/** Starts a proxy in front of a TCP server, on a loopback port of its own. */
export async function startProxy(target: Target): Promise<StallingProxy> {
  const pairs = new Set<Pair>()
  let destination = target
  let stalled = false
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ ...destination, allowHalfOpen: true, noDelay: true })
    const pair = { near, far, lanes: [new Lane(near, far), new Lane(far, near)] }
    pairs.add(pair)
    near.once('close', () => pairs.delete(pair))
    if (stalled) for (const lane of pair.lanes) lane.stall()
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
    cut() {
      for (const { near, far } of pairs) {
        near.resetAndDestroy()
        far.resetAndDestroy()
      }
      pairs.clear()
    },
    retarget(next) {
      destination = next
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      proxy.cut()
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

/** One direction of one connection: passes bytes, the end and a break on, or holds them while it is stalled. */
class Lane {
  readonly #from: Socket
  readonly #held: (() => void)[] = []
  #stalled = false

  constructor(from: Socket, to: Socket) {
    this.#from = from
    from.on('data', (bytes) => this.#pass(() => to.write(bytes) || this.#stalled || from.pause()))
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

  #pass(step: () => void): void {
    if (this.#stalled) this.#held.push(step)
    else step()
  }
}
