import type { Batch, Bus, Range } from './bus.ts'
import type { Metrics } from './metrics.ts'
import type { LocalMembers } from './publisher.ts'
import type { Joined } from './store.ts'
import { WireFrame, WireRun } from './wire-run.ts'
import { framesOf } from './ws-frame.ts'

/** Something on this worker that messages are for: a session, or the hub itself. It throws only for a frame that cannot be decoded. */
export interface Receiver {
  /** Messages, a run of them, the same for all. */
  deliver(run: WireRun, range: Range): void
  /** A request to be answered. */
  ask(frame: WireFrame, range: Range): void
  /** A receiver's word on a request that it made. */
  answer(frame: WireFrame): void
  /** A part of an origin's frames is missing and cannot be had. */
  gap(range: Range): void
}

interface Channel {
  /** Per member, the stamp up to which requests do not concern it; undefined until the store answered: then all may. */
  members: Map<Receiver, number | undefined>
  /** While the bus has not confirmed it. */
  subscribed: Promise<void> | undefined
  /** Per origin, its last number that arrived. */
  seen: Map<number, number> | undefined
  /** This origin's last number that is on its way here by the bus; 0: none is. */
  expected: number
}

/** What delivery finds wrong with what the bus brings. */
export interface DeliveryFaults {
  /** A hole that cannot be filled. */
  gap(gap: Range): void
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
      channel = { members: new Map(), subscribed: this.#bus.subscribe(name), seen: undefined, expected: 0 }
      this.#channels.set(name, channel)
    }
    channel.members.set(receiver, undefined)
    try {
      await channel.subscribed
      channel.subscribed = undefined
    } catch (error) {
      this.remove(name, receiver)
      throw error
    }
  }

  /** The store took the receiver in, this being where the channel stood. */
  confirm(name: string, receiver: Receiver, { stamp }: Joined): void {
    const members = this.#channels.get(name)?.members
    if (members?.has(receiver)) members.set(receiver, stamp)
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

  has(name: string): boolean {
    return this.#channels.has(name)
  }

  /** What this worker dispatched, to its own members: the short way, or the only one left. */
  local(batch: Batch): void {
    const channel = this.#channels.get(batch.channel)
    if (channel) this.#deliver(channel, batch, Number.POSITIVE_INFINITY)
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
    if (!channel) return
    const own = batch.origin === this.#bus.origin
    const seen = channel.seen?.get(batch.origin)
    if (seen === undefined || batch.last > seen) {
      // What the bus did not take of this worker's own frames was told to their senders, and local members have the rest.
      if (!own && seen !== undefined && batch.prev > seen) this.#tellGap(channel, batch, seen + 1)
      channel.seen ??= new Map()
      channel.seen.set(batch.origin, batch.last)
      if (!own || !batch.fast) this.#deliver(channel, batch, stamp)
    }
    if (own && batch.last >= channel.expected) channel.expected = 0
  }

  /** The origin has ended: nothing of it comes any more. */
  forget(origin: number): void {
    for (const { seen } of this.#channels.values()) seen?.delete(origin)
  }

  #deliver(channel: Channel, batch: Batch, stamp: number): void {
    const { origin, channel: to, first: from, last: until, kind, bytes } = batch
    const range = { origin, to, from, until }
    if (kind === 'message') {
      const run = new WireRun(bytes)
      this.#metrics.delivered.inc(channel.members.size * (until - from + 1))
      this.#each(channel, to, (receiver) => receiver.deliver(run, range))
      return
    }
    try {
      for (const one of framesOf(bytes)) {
        const frame = new WireFrame(one)
        this.#each(channel, to, (receiver, joined) => {
          if (kind === 'answer') receiver.answer(frame)
          else if (joined === undefined || joined < stamp) receiver.ask(frame, range)
        })
      }
    } catch (error) {
      this.#faults.garbled(to, error)
    }
  }

  #each({ members }: Channel, name: string, act: (receiver: Receiver, joined: number | undefined) => void): void {
    try {
      for (const [receiver, joined] of members) act(receiver, joined)
    } catch (error) {
      this.#faults.garbled(name, error)
    }
  }

  #tellGap(channel: Channel, batch: Batch, from: number): void {
    const range = { origin: batch.origin, to: batch.channel, from, until: batch.prev }
    this.#metrics.gaps.inc({ where: 'bus' })
    this.#faults.gap(range)
    for (const receiver of channel.members.keys()) receiver.gap(range)
  }
}
