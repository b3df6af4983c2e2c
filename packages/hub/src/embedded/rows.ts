/** What one channel has in a log. */
export interface Lane {
  readonly channel: string
  /** Its last number, while that is kept. */
  head: number | undefined
  /** Its latest row that is kept. */
  latest: number | undefined
}

/** One batch in a log. */
export interface Row {
  lane: Lane
  /** The row of the same channel before it; it may be gone. -1: there was none. */
  before: number
  stamp: number
  /** When it was appended, ms of the state's clock. */
  at: number
  bytes: Buffer
}

/** Bytes of batches lie together in blocks of this length. */
const blockBytes = 256 * 1024

/** Of each row, the numbers: `before`, `stamp`, `at`, where its bytes begin, and how many there are. */
const width = 5

/**
 * Rows in the order in which they came, numbered; the oldest go first. They live long and are very many: an object for each,
 * with a view on what the socket brought, costs the collector of garbage more than all else that is done about a batch.
 */
export class Rows {
  /** The number of the oldest row. */
  first = 0
  /** The number of the next one. */
  next = 0
  #numbers = new Float64Array(64 * width)
  #lanes: (Lane | undefined)[] = new Array(64)
  #blocks: (Buffer | undefined)[] = new Array(64)
  #block = Buffer.alloc(0)
  /** Where the block has room. */
  #room = 0

  /** Adds a row with a copy of these bytes; returns its number. */
  add(lane: Lane, before: number, stamp: number, at: number, bytes: Buffer): number {
    if (this.next - this.first === this.#lanes.length) this.#grow()
    if (bytes.length > this.#block.length - this.#room) {
      this.#block = Buffer.allocUnsafeSlow(Math.max(bytes.length, blockBytes))
      this.#room = 0
    }
    this.#block.set(bytes, this.#room)
    const place = this.#place(this.next)
    const numbers = this.#numbers
    numbers[place * width] = before
    numbers[place * width + 1] = stamp
    numbers[place * width + 2] = at
    numbers[place * width + 3] = this.#room
    numbers[place * width + 4] = bytes.length
    this.#lanes[place] = lane
    this.#blocks[place] = this.#block
    this.#room += bytes.length
    return this.next++
  }

  /** A row that is kept; its bytes are a view. */
  get(row: number): Row | undefined {
    const place = this.#place(row)
    const lane = this.#lanes[place]
    const block = this.#blocks[place]
    if (row < this.first || row >= this.next || !lane || !block) return undefined
    const number = (column: number) => this.#numbers[place * width + column] ?? 0
    const from = number(3)
    return { lane, before: number(0), stamp: number(1), at: number(2), bytes: block.subarray(from, from + number(4)) }
  }

  /** When the oldest row was appended; undefined: there is none. */
  get oldest(): number | undefined {
    return this.first < this.next ? this.#numbers[this.#place(this.first) * width + 2] : undefined
  }

  /** Takes the oldest row away. */
  shift(): Row | undefined {
    const row = this.get(this.first)
    if (!row) return undefined
    const place = this.#place(this.first++)
    this.#lanes[place] = undefined
    this.#blocks[place] = undefined
    return row
  }

  /** There are a power of two of places. */
  #place(row: number): number {
    return row & (this.#lanes.length - 1)
  }

  #grow(): void {
    const [lanes, blocks, numbers] = [this.#lanes, this.#blocks, this.#numbers]
    const size = lanes.length
    this.#lanes = new Array(2 * size)
    this.#blocks = new Array(2 * size)
    this.#numbers = new Float64Array(2 * size * width)
    for (let row = this.first; row < this.next; row++) {
      const from = row & (size - 1)
      const to = this.#place(row)
      this.#lanes[to] = lanes[from]
      this.#blocks[to] = blocks[from]
      this.#numbers.set(numbers.subarray(from * width, (from + 1) * width), to * width)
    }
  }
}
