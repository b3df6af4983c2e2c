import type { Writable } from 'node:stream'
import type { CloseName } from '@damon/protocol/closes'
import { WebSocket } from 'ws'
import { FrameFront, type Receiver } from './frame-front.ts'

/** What ws finds wrong itself, by its code (RFC 6455, 7.4.1), in the words of our table. */
const faults = new Map<number | undefined, CloseName>([
  [1002, 'bad_frame'],
  [1007, 'bad_frame'],
  [1008, 'too_large'],
  [1009, 'too_large'],
])

/** Whom a connection belongs to. */
export interface SocketOwner {
  message(data: Buffer, isBinary: boolean): void
  /** A binary message that came without ws, as in FrontOwner. */
  whole(chunk: Buffer, from: number, to: number): void
  /** ws found something wrong itself. */
  fault(name: CloseName): void
  gone(): void
}

/** A WebSocket that lets its owner hang up where ws would with a code of its own. */
export class HubSocket extends WebSocket {
  #owner: SocketOwner | undefined

  /** Tells the owner from now on. */
  belongTo(owner: SocketOwner): void {
    this.#owner = owner
  }

  /** The owner is told without listeners, of which each connection would keep a table of its own. */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const owner = this.#owner
    if (!owner) return super.emit(event, ...args)
    if (event === 'message') owner.message(args[0] as Buffer, args[1] as boolean)
    else if (event === 'close') owner.gone()
    // A peer that pings and reads nothing must not make us keep its pongs.
    else if (event === 'ping' && this.bufferedAmount === 0) this.pong(args[0] as Buffer)
    // The close that follows an error says all.
    return event === 'error' || super.emit(event, ...args)
  }

  /**
   * Has the usual messages come to the owner without ws, which is written to with what is left. `most` is what ws takes as a message's
   * bytes. To be called before anything was read.
   */
  front(most: number): void {
    const inside = this as unknown as { _receiver: Receiver }
    inside._receiver = new FrameFront(inside._receiver as unknown as Writable, this, most)
  }

  whole(chunk: Buffer, from: number, to: number): void {
    this.#owner?.whole(chunk, from, to)
  }

  override close(code?: number, reason?: string | Buffer): void {
    const fault = faults.get(code)
    // With a reason it is the echo of the peer's close frame.
    if (fault === undefined || reason !== undefined || !this.#owner) super.close(code, reason)
    else this.#owner.fault(fault)
  }
}
