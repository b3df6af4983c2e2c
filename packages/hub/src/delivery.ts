import type { Position } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { backoff, delay } from '@damon/runtime/retry'
import type { Batch, Bus, Logged, Range, Reading } from './bus.ts'
import type { Metrics } from './metrics.ts'
import type { LocalMembers } from './publisher.ts'
import { Repair } from './repair.ts'
import { SmallMap } from './small-map.ts'
import type { Joined } from './store.ts'
import { binaryFrame, WireFrame, WireRun } from './wire-run.ts'
import { framesOf } from './ws-frame.ts'

/** Something on this worker that messages are for: a session, or the hub itself. It throws only for a frame that cannot be decoded. */
export interface Receiver {
  /** Messages, a run of them, the same for all. */
  deliver(run: WireRun, range: Range): void
  /** A request to be answered. */
  ask(frame: WireFrame, range: Range): void
  /** Receivers' words on requests that it made. */
  answer(words: WireRun): void
  /** A part of an origin's frames is missing and cannot be had. */
  gap(range: Range): void
}

interface Channel {
  /** Per member, the stamp up to which requests do not concern it; undefined until the store answered: then all may. */
  readonly members: SmallMap<Receiver, number | undefined>
  /** While the bus has not confirmed it. */
  subscribed: Promise<void> | undefined
  /** Per origin, its last number that arrived. */
  seen: Map<number, number> | undefined
  /** Per origin, its last number before any member was in; undefined until the store has said so. */
  base: Map<number, number> | undefined
  /** Own frames up to this number were given to the members here. */
  local: number
  /** While a hole is being read: what came after it. */
  held: Held | undefined
  /** This origin's last number that is on its way here by the bus; 0: none is. */
  expected: number
}

interface Held {
  arrivals: Logged[]
  bytes: number
  /** The holes that are being read. */
  holes: Range[]
  /** Further ones, found meanwhile. */
  behind: Position[]
}

/** A time in which what is lost does not show. */
interface Interruption {
  /** What came meanwhile. */
  arrivals: Logged[]
  bytes: number
  /** Everything arrives again, and it is asked what did not. */
  isAsked: boolean
}

/** Of channels on which nothing was before, as on most: never written to. */
const noNumbers = new Map<number, number>()

/** What a channel may hold back while a hole is read, bytes; beyond it the hole is given up. */
const heldBytes = limits.appendBytes

/** What delivery finds wrong with what the bus brings. */
export interface DeliveryFaults {
  /** A hole, which is going to be read. */
  hole(hole: Range): void
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
  readonly #repair: Repair
  readonly #stopped = new AbortController()
  /** The latest stamp that was delivered, its channel, and the latest of another channel. */
  #latest = { channel: '', stamp: 0, elsewhere: 0 }
  #audits = 0
  /** Since the line broke on which everything arrives, until what was lost by that is known. */
  #interruption: Interruption | undefined
  /** Origins of which nothing comes any more: what the store still says of them is old. */
  readonly #over = new Set<number>()

  constructor(options: { bus: Bus; metrics: Metrics; faults: DeliveryFaults }) {
    this.#bus = options.bus
    this.#metrics = options.metrics
    this.#faults = options.faults
    this.#repair = new Repair(this.#bus, (ranges, reading) => this.#mended(ranges, reading))
  }

  /** How many channels have members here. */
  get size(): number {
    return this.#channels.size
  }

  /** Adds a receiver; resolves once everything appended later will reach it. Rejects when the bus cannot say so. */
  async add(name: string, receiver: Receiver): Promise<void> {
    let channel = this.#channels.get(name)
    if (!channel) {
      channel = {
        members: new SmallMap(),
        subscribed: this.#bus.subscribe(name),
        seen: undefined,
        base: undefined,
        local: 0,
        held: undefined,
        expected: 0,
      }
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
  confirm(name: string, receiver: Receiver, { stamp, heads }: Joined): void {
    const channel = this.#channels.get(name)
    if (!channel?.members.has(receiver)) return
    channel.members.set(receiver, stamp)
    const base = new Map<number, number>()
    for (const { origin, to, seq } of heads) {
      // Whoever became a member first is owed the most, though the store's word on that may come later.
      const least = channel.base ? Math.min(seq, channel.base.get(origin) ?? 0) : seq
      if (to === name && least > 0) base.set(origin, least)
    }
    channel.base = base.size > 0 ? base : noNumbers
  }

  remove(name: string, receiver: Receiver): void {
    const channel = this.#channels.get(name)
    if (!channel?.members.delete(receiver) || channel.members.size > 0) return
    this.#channels.delete(name)
    this.#bus.unsubscribe(name)
  }

  isClear(name: string): boolean {
    const channel = this.#channels.get(name)
    return !channel?.expected && !channel?.held && !this.#interruption?.isAsked
  }

  has(name: string): boolean {
    return this.#channels.has(name)
  }

  /** What this worker dispatched, to its own members: the short way, or the only one left. */
  local(batch: Batch): void {
    const channel = this.#channels.get(batch.channel)
    if (!channel) return
    channel.local = Math.max(channel.local, batch.last)
    this.#deliver(channel, batch, Number.POSITIVE_INFINITY)
  }

  expect(name: string, seq: number): void {
    const channel = this.#channels.get(name)
    if (channel) channel.expected = seq
  }

  unconfirmed({ channel: name, prev, last }: Batch): boolean {
    const channel = this.#channels.get(name)
    if (!channel) return true
    const inTurn = prev <= (this.#known(channel, this.#bus.origin) ?? channel.local)
    // One before it is in the log, and comes, if by a reading: until then nothing may overtake it.
    if (channel.expected <= last) channel.expected = inTurn ? 0 : prev
    return inTurn
  }

  /** What the bus brought. */
  arrive(batch: Batch, stamp: number): void {
    const interruption = this.#interruption
    if (interruption) {
      interruption.arrivals.push({ batch, stamp })
      interruption.bytes += batch.bytes.length
      if (interruption.bytes > heldBytes) this.#goOn([])
      return
    }
    const channel = this.#channels.get(batch.channel)
    if (!channel) return
    if (channel.held) this.#keep(channel, channel.held, { batch, stamp })
    else this.#take(channel, { batch, stamp })
  }

  /** All up to these numbers has arrived, or is lost: then it is read. */
  behind(positions: Position[]): void {
    // Whatever is lost will be found out by the audit.
    if (this.#interruption) return
    for (const [to, ends] of Map.groupBy(positions, ({ to }) => to)) {
      const channel = this.#channels.get(to)
      if (!channel) continue
      // All at once: a sender may have gone from one origin to another.
      if (channel.held) channel.held.behind.push(...ends)
      else this.#hold(channel, this.#holesUpTo(channel, ends), [])
    }
  }

  /**
   * The line broke on which everything arrives: until the next audit nothing is given to anybody, since what was lost goes
   * before.
   */
  interrupted(): void {
    this.#audits++
    this.#interruption = { arrivals: [], bytes: 0, ...this.#interruption, isAsked: false }
  }

  /** Looks for what was lost without a trace: after the line to the bus was broken, or when an origin has ended. */
  async audit(origin?: number): Promise<void> {
    const audit = origin === undefined ? ++this.#audits : 0
    if (this.#interruption && origin === undefined) this.#interruption.isAsked = true
    const wait = backoff({ baseMs: 100, maxMs: 2_000 })
    const { signal } = this.#stopped
    while (!signal.aborted && (origin !== undefined || audit === this.#audits)) {
      const heads = await this.#bus.heads([...this.#channels.keys()]).catch(() => undefined)
      if (heads && origin === undefined) {
        if (audit === this.#audits) this.#goOn(heads.filter((head) => !this.#over.has(head.origin)))
        return
      }
      if (heads && !this.#interruption) return this.behind(heads.filter((head) => head.origin === origin))
      await delay(wait.next(), signal).catch(() => undefined)
    }
  }

  /** The origin has ended: what is lost of it is read, and then nothing of it comes any more. */
  async ended(origin: number): Promise<void> {
    await this.audit(origin)
    this.#over.add(origin)
    for (const { seen, base, held } of this.#channels.values()) {
      if (held) continue
      seen?.delete(origin)
      base?.delete(origin)
    }
  }

  stop(): void {
    this.#stopped.abort()
    this.#repair.stop()
  }

  /** Everything up to these numbers is read that did not arrive, and then comes what arrived. */
  #goOn(heads: Position[]): void {
    const arrivals = this.#interruption?.arrivals ?? []
    this.#interruption = undefined
    this.behind(heads)
    for (const { batch, stamp } of arrivals) this.arrive(batch, stamp)
  }

  /** The number up to which a channel has everything of an origin; undefined while that is not known. */
  #known({ seen, base, local }: Channel, origin: number): number | undefined {
    const seq = seen?.get(origin)
    // What arrived may be left over from an earlier subscription: nobody is owed what came between that and the base.
    const arrived = base ? Math.max(seq ?? 0, base.get(origin) ?? 0) : seq
    return arrived !== undefined && origin === this.#bus.origin ? Math.max(arrived, local) : arrived
  }

  #holesUpTo(channel: Channel, positions: Position[]): Range[] {
    return positions.flatMap(({ origin, to, seq }) => {
      const known = this.#known(channel, origin)
      return known === undefined || seq <= known ? [] : [{ origin, to, from: known + 1, until: seq }]
    })
  }

  #take(channel: Channel, arrival: Logged, waited = false): void {
    const { batch } = arrival
    const { origin, last, prev } = batch
    if (last > (channel.seen?.get(origin) ?? 0)) {
      const holes = this.#holesUpTo(channel, [{ origin, to: batch.channel, seq: prev }])
      if (holes.length > 0) {
        this.#hold(channel, holes, [arrival])
        return
      }
      this.#saw(channel, origin, last)
      if (origin !== this.#bus.origin || !batch.fast) this.#give(channel, arrival, waited)
    }
    this.#reached(channel, origin, last)
  }

  #saw(channel: Channel, origin: number, last: number): void {
    channel.seen ??= new Map()
    channel.seen.set(origin, Math.max(last, channel.seen.get(origin) ?? 0))
  }

  #reached(channel: Channel, origin: number, last: number): void {
    if (origin === this.#bus.origin && last >= channel.expected) channel.expected = 0
  }

  #hold(channel: Channel, holes: Range[], arrivals: Logged[]): void {
    if (holes.length === 0) return
    channel.held = { arrivals, bytes: 0, holes, behind: [] }
    this.#metrics.holes.inc({ result: 'found' }, holes.length)
    for (const hole of holes) this.#faults.hole(hole)
    this.#repair.mend(holes)
  }

  #keep(channel: Channel, held: Held, arrival: Logged): void {
    held.arrivals.push(arrival)
    held.bytes += arrival.batch.bytes.length
    if (held.bytes > heldBytes) this.#release(channel, held, { batches: [], missing: held.holes })
  }

  #mended(ranges: Range[], reading: Reading): void {
    const channels = new Set(ranges.map(({ to }) => to))
    for (const name of channels) {
      const channel = this.#channels.get(name)
      const mine = ({ to }: { to: string }) => to === name
      const asked = new Set(ranges.filter(mine))
      // It may have been given up meanwhile, or have other members than those who lost something.
      if (!channel?.held?.holes.every((hole) => asked.has(hole))) continue
      this.#release(channel, channel.held, {
        batches: reading.batches.filter(({ batch }) => batch.channel === name),
        missing: reading.missing.filter(mine),
      })
    }
  }

  /** The logs have answered: what they had is delivered, what they had not is told, and then comes what was held. */
  #release(channel: Channel, held: Held, { batches, missing }: Reading): void {
    const unrepaired = new Set<number>()
    const tell = (range: Range) => {
      unrepaired.add(range.origin)
      this.#tellGap(channel, range)
      this.#saw(channel, range.origin, range.until)
    }
    const gaps = [...missing]
    for (const { batch, stamp } of batches) {
      for (;;) {
        const i = gaps.findIndex(({ origin, from }) => origin === batch.origin && from < batch.first)
        if (i < 0) break
        for (const gap of gaps.splice(i, 1)) tell(gap)
      }
      if (batch.last <= (channel.seen?.get(batch.origin) ?? 0)) continue
      this.#saw(channel, batch.origin, batch.last)
      if (batch.origin !== this.#bus.origin || !batch.fast) this.#give(channel, { batch, stamp }, true)
    }
    for (const gap of gaps) tell(gap)
    for (const { origin, until } of held.holes) {
      this.#saw(channel, origin, until)
      this.#reached(channel, origin, until)
      this.#metrics.holes.inc({ result: unrepaired.has(origin) ? 'unrepaired' : 'repaired' })
    }
    channel.held = undefined
    for (const arrival of held.arrivals) {
      if (channel.held) this.#keep(channel, channel.held, arrival)
      else this.#take(channel, arrival, true)
    }
    this.behind(held.behind)
  }

  /** Delivers it. What waited is late when something else has gone ahead of it; of one append it may have, but nothing tells. */
  #give(channel: Channel, { batch, stamp }: Logged, waited: boolean): void {
    const latest = this.#latest
    if (latest.channel !== batch.channel) {
      latest.elsewhere = latest.stamp
      latest.channel = batch.channel
    }
    const isLate = waited && (stamp <= latest.elsewhere || stamp < latest.stamp)
    if (stamp > latest.stamp) latest.stamp = stamp
    this.#deliver(channel, isLate ? late(batch) : batch, stamp)
  }

  #deliver(channel: Channel, batch: Batch, stamp: number): void {
    const { origin, channel: to, first: from, last: until, kind, bytes } = batch
    const range = { origin, to, from, until }
    if (kind === 'message') {
      const run = new WireRun(bytes, batch.frames)
      this.#metrics.delivered.inc(channel.members.size * (until - from + 1))
      this.#each(channel, to, (receiver) => receiver.deliver(run, range))
      return
    }
    if (kind === 'answer') {
      const words = new WireRun(bytes)
      this.#each(channel, to, (receiver) => receiver.answer(words))
      return
    }
    try {
      for (const one of framesOf(bytes)) {
        const frame = new WireFrame(one)
        this.#each(channel, to, (receiver, joined) => {
          if (joined === undefined || joined < stamp) receiver.ask(frame, range)
        })
      }
    } catch (error) {
      this.#faults.garbled(to, error)
    }
  }

  #each({ members }: Channel, name: string, act: (receiver: Receiver, joined: number | undefined) => void): void {
    try {
      members.each((joined, receiver) => act(receiver, joined))
    } catch (error) {
      this.#faults.garbled(name, error)
    }
  }

  #tellGap(channel: Channel, range: Range): void {
    this.#metrics.gaps.inc({ where: 'bus' })
    this.#faults.gap(range)
    channel.members.each((_, receiver) => receiver.gap(range))
  }
}

/** The same frames, saying that they come after later ones of other destinations. */
function late(batch: Batch): Batch {
  const frames = [...framesOf(batch.bytes)].map((bytes) => {
    const { frame } = new WireFrame(bytes)
    return 'late' in frame ? binaryFrame({ ...frame, late: true }) : bytes
  })
  return { ...batch, bytes: Buffer.concat(frames) }
}
