import { frameNumbers, type SendFrame } from '@damon/protocol/frames'
import { flag, sendLayout } from './layout.ts'
import { MessageMaker } from './message.ts'
import type { Publication, Sender, SendOrder } from './publisher.ts'

const { flagsAt, numberAt, lengthsAt, namesAt } = sendLayout

/** Routes that one session keeps. */
const rememberedRoutes = 256

/** The session whose routes they are. */
interface Owner extends Sender {
  readonly id: string
  readonly subject: string
  readonly order: SendOrder
}

/** A session's messages to one address with one event. */
class Route {
  /** What the head of a `send` says of it: both lengths, both names. */
  readonly names: Buffer
  readonly publication: Publication
  readonly #maker: MessageMaker

  constructor(owner: Owner, names: Buffer, to: string, event: string) {
    this.names = names
    this.#maker = new MessageMaker({ session: owner.id, from: owner.subject, to, event })
    this.publication = {
      channel: to,
      kind: 'message',
      frame: this.#maker,
      order: owner.order,
      sender: owner,
      number: 0,
    }
  }

  is(chunk: Buffer, from: number, to: number): boolean {
    const { names } = this
    const { length } = names
    const at = from + lengthsAt
    if (to - at < length) return false
    for (let i = 0; i < length; i++) if (chunk[at + i] !== names[i]) return false
    return true
  }

  /** The message that this frame asks for. Good until the next one is made. */
  publish(number: number, flags: number, chunk: Uint8Array, from: number, to: number): Publication {
    this.#maker.set(number, flags, chunk, from, to)
    this.publication.number = number
    return this.publication
  }
}

/** Where a session sends to, and may: of a frame that goes the same way as an earlier one, only a few numbers are read. */
export class Routes {
  readonly #owner: Owner
  readonly #routes = new Map<string, Route>()
  #latest: Route | undefined

  constructor(owner: Owner) {
    this.#owner = owner
  }

  /** Frame and route MUST have been checked: from now on frames with the same names are not. */
  #learn({ to, event }: SendFrame): Route {
    const names = Buffer.from(`..${to}${event}`, 'latin1')
    names[0] = to.length
    names[1] = event.length
    const name = names.toString('latin1')
    let route = this.#routes.get(name)
    if (!route) {
      if (this.#routes.size >= rememberedRoutes) this.#routes.clear()
      route = new Route(this.#owner, names, to, event)
      this.#routes.set(name, route)
    }
    this.#latest = route
    return route
  }

  /**
   * The publication of a `damon.v1` frame, which lies in the chunk from one place to the other, if it is a `send` to an
   * address, with an event, that were learnt.
   */
  publicationOf(chunk: Buffer, from = 0, to = chunk.length): Publication | undefined {
    if (chunk[from] !== frameNumbers.client.send || to - from < namesAt) return undefined
    const flags = chunk[from + flagsAt] ?? 0
    if ((flags & flag.any) !== 0) return undefined
    let route = this.#latest
    if (!route?.is(chunk, from, to)) {
      const names = from + lengthsAt
      const end = from + namesAt + (chunk[names] ?? 0) + (chunk[names + 1] ?? 0)
      route = this.#routes.get(chunk.toString('latin1', names, end))
      if (!route?.is(chunk, from, to)) return undefined
      this.#latest = route
    }
    const number = chunk.readUInt32BE(from + numberAt)
    return route.publish(number, flags & (flag.again | flag.bytes), chunk, from + lengthsAt + route.names.length, to)
  }

  /** The publication of a checked frame to all of its address. */
  publication(frame: SendFrame): Publication {
    const { number, payload } = frame
    return this.#learn(frame).publish(number, flagsOf(frame), payload, 0, payload.length)
  }

  /**
   * The publication of a checked frame to one member of its address. It goes by the log: a member that got it the short way,
   * from a worker that died before the log had it, would not be the one that gets it when it is repeated.
   */
  publicationTo(frame: SendFrame, session: string): Publication {
    return { ...this.publication(frame), channel: `session/${session}`, around: true }
  }
}

function flagsOf({ again, any, bytes }: SendFrame): number {
  return (again ? flag.again : 0) | (any ? flag.any : 0) | (bytes ? flag.bytes : 0)
}
