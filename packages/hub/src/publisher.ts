import { damonError } from '@damon/protocol/errors'
import { limits } from '@damon/protocol/limits'
import { type Asked, type Batch, type BatchKind, type Bus, BusError, type Member } from './bus.ts'
import { Grouping, Lane, type Place, type Positionable, Ranks } from './grouping.ts'
import type { Metrics } from './metrics.ts'
import type { Tick } from './tick.ts'

/** Beyond these an append is cut: a script takes only so many arguments. */
const appendBounds = { batches: 1_000, bytes: 1024 * 1024 }

/** So much may wait for the bus before those who bring more are no longer read; until half of it is gone, bytes. */
const brakeBytes = 2 * 1024 * 1024

/** How long an append waits that only the log waits for, ms. */
const unhurriedMs = 2

/** Channels whose last number is remembered; one that was long unused is forgotten for another. */
const rememberedLanes = 65_536

/** Forgotten channels that the bus is told of at a time. */
const forgottenAtOnce = 256

/** Who is told what became of a numbered frame. */
export interface Sender {
  /** All that it sent up to this number is in the log, or was refused. `patient`: it is nothing that somebody waits for. */
  acknowledge(number: number, origin: number, seq: number, patient: boolean): void
  refuse(number: number, error: unknown): void
  /** It brings more than the bus takes and MUST wait until released. */
  brake(): void
  release(): void
}

/** A frame on its way to the bus, without the position, which the publisher gives. */
export interface Publication {
  channel: string
  kind: BatchKind
  /**
   * It MUST reach all in the order of the log, and so this worker's own members by the bus too. All else takes the short way to
   * them: what this worker itself says next is in that order anyway.
   */
  around?: true
  frame: Positionable
  /** In whose order it stands. */
  order: SendOrder
  /** Told when it is safe, or not, by this number. The hub's own frames, few and small, have nobody and are never refused. */
  sender?: Sender | undefined
  number: number
}

/** The order of one sender's frames, and what it waits for. */
export class SendOrder implements Place {
  index = -1
  receipt: Receipt | undefined
  /** Channels of its frames that went around by the bus to members on this worker, and may still be on their way. */
  expected: Set<string> | undefined
}

/** The members of channels on this worker, seen from its own frames. */
export interface LocalMembers {
  /** Whether a frame may be given to the members now: not while an earlier one for them is on its way by the bus. */
  isClear(channel: string): boolean
  /** Whether there are any. */
  has(channel: string): boolean
  local(batch: Batch): void
  /** A frame goes to them by the bus. */
  expect(channel: string, seq: number): void
  /** This batch may never come. Says whether it may be given to the members now: not before earlier ones that are on their way. */
  unconfirmed(batch: Batch): boolean
}

interface Freeze {
  asked: Asked
  resolve: (members: Member[]) => void
  reject: (error: Error) => void
}

/** The numbers of one sender that wait for the same append, and the position of the last. */
interface Receipt {
  /** Until that is settled. */
  append: Append | undefined
  sender: Sender
  /** As ranges: the first and the last of each, in turn. */
  numbers: number[]
  seq: number
  /** They are answers only. */
  patient: boolean
}

/** What goes out as one append. */
class Append {
  readonly frames: Grouping
  readonly #receipts: Receipt[] = []
  readonly freezes: Freeze[] = []
  /** Somebody waits for something in it. */
  urgent = false
  /** Who wants to know that it is over. */
  readonly over = Promise.withResolvers<void>()

  constructor(ranks: Ranks) {
    this.frames = new Grouping(ranks)
  }

  get isEmpty(): boolean {
    return this.frames.isEmpty && this.freezes.length === 0
  }

  get isFull(): boolean {
    return this.frames.count >= appendBounds.batches || this.frames.bytes >= appendBounds.bytes
  }

  expect({ order, kind, number }: Publication, sender: Sender, seq: number): void {
    // Who answered has done its part, and who asked waits for the answers: that goes along with them.
    const patient = kind !== 'message'
    if (order.receipt?.append === this) {
      const { numbers } = order.receipt
      if (numbers.at(-1) === number - 1) numbers[numbers.length - 1] = number
      else numbers.push(number, number)
      order.receipt.seq = seq
      order.receipt.patient &&= patient
    } else {
      order.receipt = { append: this, sender, numbers: [number, number], seq, patient }
      this.#receipts.push(order.receipt)
    }
  }

  /** Who waits for it, for the last time. */
  settle(): Receipt[] {
    for (const receipt of this.#receipts) receipt.append = undefined
    return this.#receipts
  }
}

/**
 * Gives frames their position, this worker's members their messages at the end of the tick, and the bus all that is
 * new in one append at a time: while one is under way the next one grows.
 */
export class Publisher {
  readonly #bus: Bus
  readonly #members: LocalMembers
  readonly #tick: Tick
  readonly #metrics: Metrics
  readonly #fenced: () => void
  readonly #lanes = new Map<string, Lane>()
  readonly #ranks = new Ranks()
  /** What waits for an append, the first to go first. */
  readonly #appends: Append[] = []
  /** The highest number of a channel that was forgotten. */
  #floor = 0
  readonly #forgotten: string[] = []
  readonly #braked = new Set<Sender>()
  #unhurried: Append | undefined
  #underWay: Append | undefined
  #seq = 0
  #waiting = 0

  constructor(options: { bus: Bus; members: LocalMembers; tick: Tick; metrics: Metrics; fenced: () => void }) {
    this.#bus = options.bus
    this.#members = options.members
    this.#tick = options.tick
    this.#metrics = options.metrics
    this.#fenced = options.fenced
    options.tick.at('deliver', () => this.#deliver())
    options.tick.at('append', () => this.#append())
  }

  get origin(): number {
    return this.#bus.origin
  }

  /** Bytes that the bus has not confirmed. */
  get waiting(): number {
    return this.#waiting
  }

  /**
   * Queues a frame for the next append, and for its local members if it may be fast.
   * @throws DamonError `unavailable` when too much waits for the bus already
   */
  publish(publication: Publication): void {
    const { channel, kind, frame, order, sender, around } = publication
    if (sender && this.#waiting > limits.appendBytes) throw damonError('unavailable', 'Too much waits for the store.')
    const fast = !around && this.#members.isClear(channel) && this.#isNextOf(order)
    const seq = ++this.#seq
    if (!fast) {
      this.#members.expect(channel, seq)
      if (!this.#members.isClear(channel)) {
        order.expected ??= new Set()
        order.expected.add(channel)
      }
    }
    frame.place(this.origin, seq)
    const append = this.#next()
    append.frames.add(this.#laneOf(channel), kind, fast, order, frame, seq)
    // A session is in one place: who has its answer already is the only one to have it.
    if (!(fast && kind === 'answer' && this.#members.has(channel))) append.urgent = true
    if (sender) append.expect(publication, sender, seq)
    this.#waiting += frame.length
    this.#tick.want()
    if (sender && this.#waiting > brakeBytes && !this.#braked.has(sender)) {
      this.#braked.add(sender)
      sender.brake()
    }
  }

  /** Whether none of the sender's earlier frames is still on its way around, to members that might get this one before. */
  #isNextOf(order: SendOrder): boolean {
    const { expected } = order
    if (expected === undefined) return true
    // All of them: the members of the latest may have left, and then nothing tells of it.
    for (const channel of expected) if (this.#members.isClear(channel)) expected.delete(channel)
    if (expected.size > 0) return false
    order.expected = undefined
    return true
  }

  /**
   * The receivers of a request at the instant of the append that the latest frame goes with, which remembers them.
   * Rejects with DamonError `unavailable`.
   */
  freeze(asked: Asked): Promise<Member[]> {
    this.#tick.want()
    const { promise, resolve, reject } = Promise.withResolvers<Member[]>()
    const append = this.#appends.at(-1) ?? this.#next()
    append.freezes.push({ asked, resolve, reject })
    append.urgent = true
    return promise
  }

  /** The latest number that was given. */
  get seq(): number {
    return this.#seq
  }

  /** Resolves when what was published so far is in the log, or was refused. */
  async confirmed(): Promise<void> {
    const latest = this.#appends.at(-1)
    if (latest) {
      latest.urgent = true
      this.#tick.want()
    }
    await (latest ?? this.#underWay)?.over.promise
  }

  /** Nobody will be sent to on this channel again. */
  forget(channel: string): void {
    this.#lanes.delete(channel)
  }

  #next(): Append {
    const last = this.#appends.at(-1)
    if (last && !last.isFull) return last
    const append = new Append(this.#ranks)
    this.#appends.push(append)
    return append
  }

  #laneOf(channel: string): Lane {
    let lane = this.#lanes.get(channel)
    if (lane === undefined) {
      if (this.#lanes.size >= rememberedLanes) this.#forgetUnused()
      lane = new Lane(channel)
      // Of one that was forgotten nobody can say that its last number is lower.
      lane.head = this.#floor
      this.#lanes.set(channel, lane)
    }
    lane.used = true
    return lane
  }

  /** Forgets a lane that was not used since it came to its turn last. */
  #forgetUnused(): void {
    for (const [channel, lane] of this.#lanes) {
      this.#lanes.delete(channel)
      if (!lane.used) {
        this.#floor = Math.max(this.#floor, lane.head)
        this.#forgotten.push(channel)
        if (this.#forgotten.length >= forgottenAtOnce) this.#bus.forget(this.#forgotten.splice(0))
        return
      }
      lane.used = false
      this.#lanes.set(channel, lane)
    }
  }

  #deliver(): void {
    for (const batch of this.#ranks.takeFresh(this.origin)) this.#members.local(batch)
  }

  #append(): void {
    if (this.#underWay) return
    const [append] = this.#appends
    if (!append) return
    if (append.isEmpty || append.urgent || append.isFull) {
      this.#appends.shift()
      if (append.isEmpty) append.over.resolve()
      else this.#send(append)
    } else this.#hurryLater(append)
  }

  #hurryLater(append: Append): void {
    if (this.#unhurried) return
    this.#unhurried = append
    setTimeout(() => {
      this.#unhurried = undefined
      append.urgent = true
      this.#tick.want()
    }, unhurriedMs)
  }

  #send(append: Append): void {
    const { bytes } = append.frames
    const batches = append.frames.close(this.origin)
    const asked = append.freezes.map(({ asked }) => asked)
    const channels = [...new Set(asked.flatMap(({ channel, member }) => (member ? [] : [channel])))]
    const began = performance.now()
    this.#underWay = append
    this.#bus.append(batches, channels, asked).then(
      (frozen) => {
        this.#underWay = undefined
        this.#waiting -= bytes
        if (this.#appends.length > 0) this.#tick.want()
        this.#metrics.appends.inc({ result: 'confirmed' })
        this.#metrics.appendSeconds.observe((performance.now() - began) / 1000)
        for (const { sender, numbers, seq, patient } of append.settle())
          sender.acknowledge(numbers.at(-1) ?? 0, this.origin, seq, patient)
        for (const { asked, resolve } of append.freezes)
          resolve(asked.member ? [asked.member] : (frozen[channels.indexOf(asked.channel)] ?? []))
        append.over.resolve()
        this.#releaseBraked()
      },
      (cause) => {
        this.#underWay = undefined
        this.#waiting -= bytes
        const error = cause instanceof BusError ? cause : new BusError('unavailable', cause)
        this.#metrics.appends.inc({ result: error.code })
        this.#refuse(append, batches, error)
        // What waited for it has waited as long: it gets the same word, not a second wait.
        for (const waiting of this.#appends.splice(0)) {
          this.#waiting -= waiting.frames.bytes
          this.#refuse(waiting, waiting.frames.close(this.origin), error)
        }
        this.#releaseBraked()
        if (error.code === 'fenced') this.#fenced()
      },
    )
  }

  #releaseBraked(): void {
    if (this.#braked.size === 0 || this.#waiting > brakeBytes / 2) return
    const braked = [...this.#braked]
    this.#braked.clear()
    for (const sender of braked) sender.release()
  }

  /**
   * Not confirmed: every sender is told, and this worker's members get what they have not got. But not requests, nor what was
   * for any one of several, since another may get it when it is repeated, nor what would overtake frames that were promised:
   * those count as old once a later one was seen.
   */
  #refuse(append: Append, batches: Batch[], cause: BusError): void {
    for (const batch of batches) {
      const inTurn = this.#members.unconfirmed(batch)
      if (!batch.fast && inTurn && !isForAny(batch)) this.#members.local(batch)
    }
    const error = damonError('unavailable', undefined, { cause })
    for (const { sender, numbers } of append.settle())
      for (let i = 0; i < numbers.length; i += 2)
        for (let number = numbers[i] ?? 0; number <= (numbers[i + 1] ?? 0); number++) sender.refuse(number, error)
    for (const { reject } of append.freezes) reject(error)
    append.over.resolve()
  }
}

/** Whether this is a request, or messages that were each for any one member of a group. */
function isForAny({ kind, channel }: Batch): boolean {
  return kind === 'request' || (kind === 'message' && channel.startsWith('session/'))
}
