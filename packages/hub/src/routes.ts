import { frameNumbers, type SendFrame } from '@damon/protocol/frames'
import { MessageMaker } from './message.ts'
import type { Publication, Sender, SendOrder } from './publisher.ts'

// send: type u8, flags u8, number u32, to u8, event u8; to, event, payload. docs/protocol.md has the layout.
const flagsAt = 1
const numberAt = 2
const lengthsAt = 6
const namesAt = 8
const flag = { again: 1, any: 2, bytes: 4 } as const

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

  is(frame: Buffer): boolean {
    const { names } = this
    const { length } = names
    if (frame.length < lengthsAt + length) return false
    for (let i = 0; i < length; i++) if (frame[lengthsAt + i] !== names[i]) return false
    return true
  }

  /** The message that this frame asks for. Good until the next one is made. */
  publish(number: number, flags: number, payload: Uint8Array): Publication {
    this.#maker.set(number, flags, payload)
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

  /** The publication of a `damon.v1` frame, if it is a `send` to an address, with an event, that were learnt. */
  publicationOf(frame: Buffer): Publication | undefined {
    if (frame[0] !== frameNumbers.client.send || frame.length < namesAt) return undefined
    const flags = frame[flagsAt] ?? 0
    if ((flags & flag.any) !== 0) return undefined
    let route = this.#latest
    if (!route?.is(frame)) {
      const end = namesAt + (frame[lengthsAt] ?? 0) + (frame[lengthsAt + 1] ?? 0)
      route = this.#routes.get(frame.toString('latin1', lengthsAt, end))
      if (!route?.is(frame)) return undefined
      this.#latest = route
    }
    const payload = frame.subarray(lengthsAt + route.names.length)
    return route.publish(frame.readUInt32BE(numberAt), flags & (flag.again | flag.bytes), payload)
  }

  /** The publication of a checked frame to all of its address. */
  publication(frame: SendFrame): Publication {
    return this.#learn(frame).publish(frame.number, flagsOf(frame), frame.payload)
  }

  /** The publication of a checked frame to one member of its address. */
  publicationTo(frame: SendFrame, session: string): Publication {
    // Nobody has it before the log has: a sender that has to send it again may be given another member.
    return { ...this.publication(frame), channel: `session/${session}`, around: true }
  }
}

function flagsOf({ again, any, bytes }: SendFrame): number {
  return (again ? flag.again : 0) | (any ? flag.any : 0) | (bytes ? flag.bytes : 0)
}
