import type { Batch, BatchKind } from './bus.ts'
import { Room } from './room.ts'

/** A frame that can be written once its position is known. */
export interface Positionable {
  /** Says where it stands, once, before anything else. */
  place(origin: number, seq: number): void
  /** Of the whole frame, WebSocket header included, bytes. */
  readonly length: number
  /** Writes the frame; MUST fill exactly `length` bytes. */
  write(out: Buffer, at: number): void
}

/** Where the latest frame of one sender stands, by the index of its batch: nothing that it sends later may stand before. */
export interface Place {
  index: number
}

/** What this worker puts on one channel. */
export class Lane {
  readonly channel: string
  /** This origin's last number on it, 0 for none. */
  head = 0
  /** The batch that the next frame may join. */
  latest: Growing | undefined
  /** Whether it was used since somebody looked for lanes that nobody uses. */
  used = true

  constructor(channel: string) {
    this.channel = channel
  }
}

/** Whoever must move takes room for so many times the bytes it has. */
const growth = 4

/** The frames of one channel, of one kind, one behind another in one buffer: as a rule each was copied there once. */
class Growing {
  readonly of: Grouping
  readonly index: number
  readonly lane: Lane
  readonly kind: BatchKind
  readonly fast: boolean
  readonly prev: number
  readonly first: number
  last: number
  length = 0
  /** What has not been taken as fresh begins here: bytes, number of the first frame, number before that one. */
  freshAt = 0
  freshFirst = 0
  freshPrev = 0
  #freshFrames = 0
  #block: Buffer
  /** Where it begins in the block, and where its room there ends. */
  #at: number
  #end: number

  constructor(of: Grouping, index: number, lane: Lane, kind: BatchKind, fast: boolean, seq: number, bytes: number) {
    this.of = of
    this.index = index
    this.lane = lane
    this.kind = kind
    this.fast = fast
    this.prev = lane.head
    this.first = seq
    this.last = lane.head
    const { block, at } = of.room.take(bytes)
    this.#block = block
    this.#at = at
    this.#end = at + bytes
  }

  add(frame: Positionable, seq: number): void {
    const { length } = this
    const end = length + frame.length
    this.#makeRoom(frame.length)
    frame.write(this.#block, this.#at + length)
    if (this.freshAt === this.length) {
      this.freshFirst = seq
      this.freshPrev = this.last
      this.#freshFrames = 0
    }
    this.#freshFrames++
    this.length = end
    this.last = seq
  }

  #makeRoom(bytes: number): void {
    const at = this.#at + this.length
    const missing = at + bytes - this.#end
    if (missing <= 0) return
    const { room } = this.of
    if (room.extend(this.#block, this.#end, missing)) {
      this.#end += missing
      return
    }
    const size = bytes + this.length * growth
    const to = room.take(size)
    // Views on the old place, which receivers may still hold, stay as they are.
    this.#block.copy(to.block, to.at, this.#at, at)
    this.#block = to.block
    this.#at = to.at
    this.#end = to.at + size
  }

  #bytes(from: number): Buffer {
    return this.#block.subarray(this.#at + from, this.#at + this.length)
  }

  get isFresh(): boolean {
    return this.freshAt < this.length
  }

  whole(origin: number): Batch {
    const { kind, fast, prev, first, last } = this
    return {
      channel: this.lane.channel,
      origin,
      prev,
      first,
      last,
      kind,
      fast,
      bytes: this.#bytes(0),
    }
  }

  fresh(origin: number): Batch {
    const { kind, fast, freshPrev: prev, freshFirst: first, last, freshAt } = this
    this.freshAt = this.length
    return {
      channel: this.lane.channel,
      origin,
      prev,
      first,
      last,
      kind,
      fast,
      bytes: this.#bytes(freshAt),
      frames: this.#freshFrames,
    }
  }
}

/** Numbers the batches of one worker, through all its groupings, and knows which of them have grown in this tick. */
export class Ranks {
  readonly room = new Room()
  #next = 0
  #grown: Growing[] = []
  #ordered = true

  get next(): number {
    return this.#next++
  }

  grew(batch: Growing): void {
    const latest = this.#grown.at(-1)
    if (latest && latest.index > batch.index) this.#ordered = false
    this.#grown.push(batch)
  }

  /** What fast batches have got since this was called last, in their order. */
  takeFresh(origin: number): Batch[] {
    const grown = this.#grown
    if (grown.length === 0) return []
    if (!this.#ordered) grown.sort((a, b) => a.index - b.index)
    this.#grown = []
    this.#ordered = true
    return grown.map((batch) => batch.fresh(origin))
  }
}

/**
 * Gathers frames into as few batches as keep every sender's order: a frame joins its channel's batch only if that
 * does not overtake its sender's earlier frame on another channel.
 */
export class Grouping {
  readonly #ranks: Ranks
  readonly #batches: Growing[] = []
  #bytes = 0

  constructor(ranks: Ranks) {
    this.#ranks = ranks
  }

  /** Where its batches have their frames. */
  get room(): Room {
    return this.#ranks.room
  }

  get isEmpty(): boolean {
    return this.#batches.length === 0
  }

  get count(): number {
    return this.#batches.length
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Puts a frame, which has its place, into the lane's latest batch or into a new one. */
  add(lane: Lane, kind: BatchKind, fast: boolean, sender: Place, frame: Positionable, seq: number) {
    let batch = lane.latest
    if (!batch || batch.of !== this || batch.kind !== kind || batch.fast !== fast || batch.index < sender.index) {
      batch = new Growing(this, this.#ranks.next, lane, kind, fast, seq, frame.length)
      this.#batches.push(batch)
      lane.latest = batch
    }
    if (fast && !batch.isFresh) this.#ranks.grew(batch)
    batch.add(frame, seq)
    sender.index = batch.index
    lane.head = seq
    this.#bytes += frame.length
  }

  /** The batches, in order. Nothing joins them any more. */
  close(origin: number): Batch[] {
    return this.#batches.map((batch) => {
      if (batch.lane.latest === batch) batch.lane.latest = undefined
      return batch.whole(origin)
    })
  }
}
