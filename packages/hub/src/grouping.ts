import type { Batch, BatchKind } from './bus.ts'

interface Growing {
  channel: string
  kind: BatchKind
  fast: boolean
  prev: number
  first: number
  last: number
  frames: Buffer[]
}

/** A frame with its position, on its way into a batch. */
export interface Placed {
  channel: string
  kind: BatchKind
  fast: boolean
  /** The origin's previous number on the channel. */
  prev: number
  seq: number
  bytes: Buffer
  /** In whose order it stands. */
  sender: string
}

/**
 * Gathers frames into as few batches as keep every sender's order: a frame joins its channel's batch only if that
 * does not overtake its sender's earlier frame on another channel.
 */
export class Grouping {
  #batches: Growing[] = []
  /** Per channel, the index of its latest batch. */
  #latest = new Map<string, number>()
  /** Per sender, the index of the batch of its latest frame. */
  #senders = new Map<string, number>()
  #bytes = 0

  get isEmpty(): boolean {
    return this.#batches.length === 0
  }

  get count(): number {
    return this.#batches.length
  }

  get bytes(): number {
    return this.#bytes
  }

  add({ channel, kind, fast, prev, seq, bytes, sender }: Placed): void {
    let index = this.#latest.get(channel) ?? -1
    let batch = this.#batches[index]
    if (!batch || batch.kind !== kind || batch.fast !== fast || index < (this.#senders.get(sender) ?? 0)) {
      batch = { channel, kind, fast, prev, first: seq, last: seq, frames: [] }
      index = this.#batches.push(batch) - 1
      this.#latest.set(channel, index)
    }
    batch.frames.push(bytes)
    batch.last = seq
    this.#senders.set(sender, index)
    this.#bytes += bytes.length
  }

  /** The batches, in order; nothing is left. */
  take(origin: number): Batch[] {
    const batches = this.#batches.map(({ frames, ...batch }) => {
      const bytes = frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames)
      return { ...batch, origin, bytes }
    })
    this.#batches = []
    this.#latest.clear()
    this.#senders.clear()
    this.#bytes = 0
    return batches
  }
}
