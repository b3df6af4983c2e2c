import type { Batch, Bus } from './bus.ts'
import { Encoded } from './encoded.ts'
import type { Metrics } from './metrics.ts'

/** Something on this worker that messages are for: a session, or the hub itself. */
export interface Receiver {
  /** MUST answer at once and MUST NOT throw. */
  deliver(frame: Encoded): void
  /** A part of an origin's frames on a channel is missing and cannot be had. */
  gap(origin: number, channel: string, from: number, until: number): void
}

interface Membership {
  /** Requests up to this stamp do not concern it; undefined while the store has not answered: then all may. */
  stamp: number | undefined
}

interface Channel {
  members: Map<Receiver, Membership>
  subscribed: Promise<void>
  /** Per origin, its last number that arrived. */
  seen: Map<number, number>
}

/** Knows which receivers on this worker are in which channel, and brings them what arrives. */
export class Delivery {
  readonly #bus: Bus
  readonly #metrics: Metrics
  readonly #gap: (gap: { origin: number; channel: string; from: number; until: number }) => void
  readonly #channels = new Map<string, Channel>()

  constructor(options: {
    bus: Bus
    metrics: Metrics
    /** Told of every hole that was found. */
    gap: (gap: { origin: number; channel: string; from: number; until: number }) => void
  }) {
    this.#bus = options.bus
    this.#metrics = options.metrics
    this.#gap = options.gap
  }

  /** Adds a receiver; resolves once everything appended later will reach it. */
  async add(name: string, receiver: Receiver): Promise<void> {
    let channel = this.#channels.get(name)
    if (!channel) {
      channel = { members: new Map(), subscribed: this.#bus.subscribe(name), seen: new Map() }
      this.#channels.set(name, channel)
    }
    channel.members.set(receiver, { stamp: undefined })
    try {
      await channel.subscribed
    } catch (error) {
      this.remove(name, receiver)
      throw error
    }
  }

  /** The store took the receiver in at this stamp. */
  confirm(name: string, receiver: Receiver, stamp: number): void {
    const membership = this.#channels.get(name)?.members.get(receiver)
    if (membership) membership.stamp = stamp
  }

  remove(name: string, receiver: Receiver): void {
    const channel = this.#channels.get(name)
    if (!channel?.members.delete(receiver) || channel.members.size > 0) return
    this.#channels.delete(name)
    this.#bus.unsubscribe(name)
  }

  /** The fast path: a frame that this worker dispatched, to its own members. */
  local(name: string, frame: Encoded): void {
    const channel = this.#channels.get(name)
    if (!channel) return
    this.#metrics.delivered.inc(channel.members.size)
    for (const receiver of channel.members.keys()) receiver.deliver(frame)
  }

  /** What the bus brought. */
  arrive(batch: Batch, stamp: number): void {
    const channel = this.#channels.get(batch.channel)
    const first = batch.frames[0]
    if (!channel || !first) return
    const seen = channel.seen.get(batch.origin)
    if (seen !== undefined && batch.prev > seen) this.#tellGap(channel, batch, seen + 1, batch.prev)
    const own = batch.origin === this.#bus.origin
    for (const frame of batch.frames) {
      if (seen !== undefined && frame.seq <= seen) continue
      channel.seen.set(batch.origin, frame.seq)
      if (own && frame.fast) continue
      const encoded = Encoded.from(frame.bytes)
      const request = encoded.isRequest
      for (const [receiver, membership] of channel.members)
        if (!request || membership.stamp === undefined || membership.stamp < stamp) {
          this.#metrics.delivered.inc()
          receiver.deliver(encoded)
        }
    }
  }

  #tellGap(channel: Channel, batch: Batch, from: number, until: number): void {
    this.#metrics.gaps.inc({ where: 'bus' })
    this.#gap({ origin: batch.origin, channel: batch.channel, from, until })
    for (const receiver of channel.members.keys()) receiver.gap(batch.origin, batch.channel, from, until)
  }
}
