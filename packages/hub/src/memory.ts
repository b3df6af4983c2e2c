import { totalmem } from 'node:os'
import { getHeapStatistics } from 'node:v8'
import { limits } from '@damon/protocol/limits'

/** What a process uses, bytes. */
export interface MemoryUse {
  /** All that is in RAM. */
  rss: number
  /** What JavaScript has of its heap. */
  heap: number
  /** What it may have. */
  heapLimit: number
}

/** Of the memory of the machine, or of the container, what all workers together may have without a word of the operator. */
const ownShare = 0.8
/** Room that must come back before new sessions are taken again, as a share of what may be used. */
const relief = 0.05

/** What each of so many workers may use, bytes, where nothing is configured. */
export function fairMemory(workers: number): number {
  const constrained = process.constrainedMemory()
  const all = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem()
  return Math.floor((all * ownShare) / workers)
}

/** What this process uses now. */
export function memoryUse(): MemoryUse {
  const { used_heap_size: heap, heap_size_limit: heapLimit } = getHeapStatistics()
  return { rss: process.memoryUsage.rss(), heap, heapLimit }
}

/** Whether a worker is near the end of its memory: from `memoryPercent` on, until some of it has come back. */
export class Memory {
  readonly #limit: number
  #tight = false

  /** `limit` in bytes. */
  constructor(limit: number) {
    this.#limit = limit
  }

  get tight(): boolean {
    return this.#tight
  }

  /** Looks anew; true when that changed the answer. */
  look({ rss, heap, heapLimit }: MemoryUse): boolean {
    const share = Math.max(rss / this.#limit, heap / heapLimit)
    const before = this.#tight
    const bound = limits.memoryPercent / 100
    this.#tight = share >= (before ? bound - relief : bound)
    return this.#tight !== before
  }
}
