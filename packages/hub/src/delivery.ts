import type { Batch, Bus } from './bus.ts'
import { Encoded } from './encoded.ts'
import type { Metrics } from './metrics.ts'
import type { LocalMembers } from './publisher.ts'

/** Something on this worker that messages are for: a session, or the hub itself. */
export interface Receiver {
  /** MUST answer at once; throws only for a frame that cannot be decoded. */
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
  /** This origin's last number that is on its way here by the bus; 0: none is. */
  expected: number
}

/** What delivery finds wrong with what the bus brings. */
export interface DeliveryFaults {
  /** A hole that cannot be filled. */
  gap(gap: { origin: number; channel: string; from: number; until: number }): void
  /** A frame that cannot be decoded; the others of its batch are delivered. */
  garbled(channel: string, error: unknown): void
}

/** Knows which receivers on this worker are in which channel, and brings them what arrives. */
export class Delivery implements LocalMembers {
  readonly #bus: Bus
  readonly #metrics: Metrics
  readonly #faults: DeliveryFaults
  readonly #channels = new Map<string, Channel>()

  constructor(options: { bus: Bus; metrics: Metrics; faults: DeliveryFaults }) {
    this.#bus = options.bus
    this.#metrics = options.metrics
    this.#faults = options.faults
  }

  /** How many channels have members here. */
  get size(): number {
    return this.#channels.size
  }

  /** Adds a receiver; resolves once everything appended later will reach it. Rejects when the bus cannot say so. */
  async add(name: string, receiver: Receiver): Promise<void> {
    let channel = this.#channels.get(name)
    if (!channel) {
      channel = { members: new Map(), subscribed: this.#bus.subscribe(name), seen: new Map(), expected: 0 }
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

  isClear(name: string): boolean {
    return !this.#channels.get(name)?.expected
  }

  /** The fast path: a frame that this worker dispatched, to its own members. */
  local(name: string, frame: Encoded): void {
    const channel = this.#channels.get(name)
    if (!channel) return
    this.#metrics.delivered.inc(channel.members.size)
    for (const receiver of channel.members.keys()) receiver.deliver(frame)
  }

  expect(name: string, seq: number): void {
    const channel = this.#channels.get(name)
    if (channel) channel.expected = seq
  }

  unconfirmed(name: string, seq: number): void {
    const channel = this.#channels.get(name)
    if (channel && channel.expected <= seq) channel.expected = 0
  }

  /** What the bus brought. */
  arrive(batch: Batch, stamp: number): void {
    const channel = this.#channels.get(batch.channel)
    const last = batch.frames.at(-1)
    if (!channel || !last) return
    const own = batch.origin === this.#bus.origin
    const seen = channel.seen.get(batch.origin)
    // What the bus did not take of this worker's own frames was told to their senders, and local members have the rest.
    if (!own && seen !== undefined && batch.prev > seen) this.#tellGap(channel, batch, seen + 1, batch.prev)
    for (const frame of batch.frames) {
      if (seen !== undefined && frame.seq <= seen) continue
      channel.seen.set(batch.origin, frame.seq)
      if (!own || !frame.fast) this.#deliver(channel, batch.channel, Encoded.from(frame.bytes), stamp)
    }
    if (own && last.seq >= channel.expected) channel.expected = 0
  }

  /** The origin has ended: nothing of it comes any more. */
  forget(origin: number): void {
    for (const { seen } of this.#channels.values()) seen.delete(origin)
  }

  #deliver(channel: Channel, name: string, encoded: Encoded, stamp: number): void {
    try {
      const request = encoded.isRequest
      for (const [receiver, membership] of channel.members) {
        if (request && membership.stamp !== undefined && membership.stamp >= stamp) continue
        this.#metrics.delivered.inc()
        receiver.deliver(encoded)
      }
    } catch (error) {
      this.#faults.garbled(name, error)
    }
  }

  #tellGap(channel: Channel, batch: Batch, from: number, until: number): void {
    this.#metrics.gaps.inc({ where: 'bus' })
    this.#faults.gap({ origin: batch.origin, channel: batch.channel, from, until })
    for (const receiver of channel.members.keys()) receiver.gap(batch.origin, batch.channel, from, until)
  }
}
