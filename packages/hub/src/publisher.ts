import { damonError } from '@damon/protocol/errors'
import type { PositionedFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { type Batch, type Bus, BusError, type Member } from './bus.ts'
import { Encoded } from './encoded.ts'
import type { Metrics } from './metrics.ts'

/** Beyond these a tick is appended at once and another begins: a script takes only so many arguments. */
const tickBounds = { batches: 1_000, bytes: 1024 * 1024 }

/** Channels whose last number is remembered; of the longest unused one a hole would not be noticed once. */
const rememberedHeads = 65_536

/** Who is told what became of a numbered frame. */
export interface Sender {
  acknowledge(number: number, origin: number, seq: number): void
  refuse(number: number, error: unknown): void
}

/** A frame on its way to the bus, without the position, which the publisher gives. */
export interface Publication {
  channel: string
  /** Made once the position is known. */
  frame: (origin: number, seq: number) => PositionedFrame
  /** It may be at its local members before it is on the bus. */
  fast: boolean
  /** In whose order it stands: a session's id. */
  sender: string
  /** Told when it is safe, or not. The hub's own frames, few and small, have none and are never refused. */
  receipt?: { to: Sender; number: number } | undefined
}

/** The members of channels on this worker, seen from its own frames. */
export interface LocalMembers {
  /** Whether a frame may be given to the members now: not while an earlier one for them is on its way by the bus. */
  isClear(channel: string): boolean
  local(channel: string, frame: Encoded): void
  /** A frame goes to them by the bus. */
  expect(channel: string, seq: number): void
  /** What was expected up to this number may never come. */
  unconfirmed(channel: string, seq: number): void
}

interface Tick {
  batches: Batch[]
  bytes: number
  /** Per channel, the index of its latest batch. */
  latest: Map<string, number>
  /** Per sender, the index of the batch of its latest frame. */
  senders: Map<string, number>
  receipts: { to: Sender; number: number; seq: number }[]
  freezes: { channel: string; resolve: (members: Member[]) => void; reject: (error: Error) => void }[]
  failures: ((error: BusError) => void)[]
}

/** Gives frames their position and brings what one tick dispatched to the bus in one append. */
export class Publisher {
  readonly #bus: Bus
  readonly #members: LocalMembers
  readonly #metrics: Metrics
  readonly #fenced: () => void
  /** Per channel, this origin's last number on it; the longest unused first. */
  readonly #heads = new Map<string, number>()
  #seq = 0
  #tick: Tick | undefined
  #waiting = 0

  constructor(options: { bus: Bus; members: LocalMembers; metrics: Metrics; fenced: () => void }) {
    this.#bus = options.bus
    this.#members = options.members
    this.#metrics = options.metrics
    this.#fenced = options.fenced
  }

  get origin(): number {
    return this.#bus.origin
  }

  /** Bytes that the bus has not confirmed. */
  get waiting(): number {
    return this.#waiting
  }

  /**
   * Queues a frame for this tick's append, and gives it to its local members if it may be fast; `failed` is called if the
   * append is not confirmed.
   * @throws DamonError `unavailable` when too much waits for the bus already
   */
  publish(publication: Publication, failed?: (error: BusError, encoded: Encoded) => void): Encoded {
    const { channel, sender, receipt } = publication
    if (receipt && this.#waiting > limits.appendBytes) throw damonError('unavailable', 'Too much waits for the store.')
    if (this.#tick && (this.#tick.batches.length >= tickBounds.batches || this.#tick.bytes >= tickBounds.bytes))
      this.#flush()
    const tick = this.#openTick()
    const fast = publication.fast && this.#members.isClear(channel)
    const seq = ++this.#seq
    const encoded = Encoded.of(publication.frame(this.origin, seq))
    const bytes = encoded.binary
    // A frame joins its channel's batch only if that does not overtake its sender's earlier frame on another channel.
    let index = tick.latest.get(channel)
    if (index === undefined || index < (tick.senders.get(sender) ?? 0)) {
      index = tick.batches.push({ channel, origin: this.origin, prev: this.#heads.get(channel) ?? 0, frames: [] }) - 1
      tick.latest.set(channel, index)
    }
    tick.batches[index]?.frames.push({ seq, fast, bytes })
    tick.senders.set(sender, index)
    this.#advance(channel, seq)
    tick.bytes += bytes.length
    this.#waiting += bytes.length
    if (receipt) tick.receipts.push({ ...receipt, seq })
    if (failed) tick.failures.push((error) => failed(error, encoded))
    if (fast) this.#members.local(channel, encoded)
    else this.#members.expect(channel, seq)
    return encoded
  }

  /** The members of a channel at the instant of this tick's append. Rejects with DamonError `unavailable`. */
  freeze(channel: string): Promise<Member[]> {
    const tick = this.#openTick()
    return new Promise((resolve, reject) => {
      tick.freezes.push({ channel, resolve, reject })
    })
  }

  /** Nobody will be sent to on this channel again. */
  forget(channel: string): void {
    this.#heads.delete(channel)
  }

  #advance(channel: string, seq: number): void {
    this.#heads.delete(channel)
    this.#heads.set(channel, seq)
    if (this.#heads.size <= rememberedHeads) return
    const [unused] = this.#heads.keys()
    if (unused !== undefined) this.#heads.delete(unused)
  }

  #openTick(): Tick {
    if (this.#tick) return this.#tick
    this.#tick = {
      batches: [],
      bytes: 0,
      latest: new Map(),
      senders: new Map(),
      receipts: [],
      freezes: [],
      failures: [],
    }
    setImmediate(() => this.#flush())
    return this.#tick
  }

  #flush(): void {
    const tick = this.#tick
    if (!tick) return
    this.#tick = undefined
    const began = performance.now()
    this.#bus
      .append(
        tick.batches,
        tick.freezes.map(({ channel }) => channel),
      )
      .then(
        (frozen) => {
          this.#waiting -= tick.bytes
          this.#metrics.appends.inc({ result: 'confirmed' })
          this.#metrics.appendSeconds.observe((performance.now() - began) / 1000)
          this.#confirm(tick)
          tick.freezes.forEach(({ resolve }, i) => {
            resolve(frozen[i] ?? [])
          })
        },
        (cause) => {
          this.#waiting -= tick.bytes
          const error = cause instanceof BusError ? cause : new BusError('unavailable', cause)
          this.#metrics.appends.inc({ result: error.code })
          this.#refuse(tick, error)
          if (error.code === 'fenced') this.#fenced()
        },
      )
  }

  /** One acknowledgement per sender and tick: its highest number. */
  #confirm(tick: Tick): void {
    const last = new Map<Sender, { number: number; seq: number }>()
    for (const { to, number, seq } of tick.receipts) last.set(to, { number, seq })
    for (const [to, { number, seq }] of last) to.acknowledge(number, this.origin, seq)
  }

  #refuse(tick: Tick, error: BusError): void {
    for (const { channel, frames } of tick.batches) this.#members.unconfirmed(channel, frames.at(-1)?.seq ?? 0)
    const told = damonError('unavailable', undefined, { cause: error })
    for (const { to, number } of tick.receipts) to.refuse(number, told)
    for (const { reject } of tick.freezes) reject(told)
    for (const failed of tick.failures) failed(error)
  }
}
