/** One record of a byte stream, told by its parser. */
export interface Found {
  /** Bytes of the whole record. */
  size: number
  /** For a message that counts: how many of its first bytes are the same for all messages of this stream. Else 0. */
  probe: number
}

/**
 * Counts the messages in a byte stream almost without reading it: the first one tells how long all of them are, and
 * from then on only their first bytes are compared. Everything else goes to the parser, in its order.
 */
export class Tally {
  readonly #parse: (bytes: Buffer, at: number) => Found | undefined
  readonly #hear: (messages: number) => void
  readonly #reading: boolean
  #probe: Buffer = Buffer.alloc(0)
  #unit = 0
  /** Bytes still to come of a message whose first bytes were seen. */
  #rest = 0
  /** The beginning of a record that is not complete. */
  #begun: Buffer | undefined

  constructor(options: {
    /** MUST say undefined, and do nothing, while the record at `at` is incomplete. */
    parse: (bytes: Buffer, at: number) => Found | undefined
    /** Told how many messages a chunk completed. */
    hear: (messages: number) => void
    /** Whether every message shall go through the parser. */
    reading?: boolean
  }) {
    this.#parse = options.parse
    this.#hear = options.hear
    this.#reading = options.reading ?? false
  }

  /** Whether the stream stands between two records. */
  get isWhole(): boolean {
    return this.#rest === 0 && this.#begun === undefined
  }

  /** Takes what comes next. Throws when a message has another size than the first one. */
  take(chunk: Buffer): void {
    let bytes = chunk
    let at = 0
    let messages = 0
    if (this.#rest > 0) {
      if (bytes.length < this.#rest) {
        this.#rest -= bytes.length
        return
      }
      at = this.#rest
      this.#rest = 0
      messages = 1
    } else if (this.#begun) {
      bytes = Buffer.concat([this.#begun, chunk])
      this.#begun = undefined
    }
    for (;;) {
      const unit = this.#unit
      if (unit > 0) {
        while (at + unit <= bytes.length && this.#isMessage(bytes, at)) {
          at += unit
          messages++
        }
        if (bytes.length - at >= this.#probe.length && bytes.length - at < unit && this.#isMessage(bytes, at)) {
          this.#rest = unit - (bytes.length - at)
          break
        }
      }
      if (at === bytes.length) break
      const found = this.#parse(bytes, at)
      if (!found) {
        this.#begun = Buffer.from(bytes.subarray(at))
        break
      }
      if (found.probe > 0) {
        messages++
        this.#learn(bytes, at, found)
      }
      at += found.size
    }
    if (messages > 0) this.#hear(messages)
  }

  #isMessage(bytes: Buffer, at: number): boolean {
    const probe = this.#probe
    for (let i = 0; i < probe.length; i++) if (bytes[at + i] !== probe[i]) return false
    return true
  }

  #learn(bytes: Buffer, at: number, { size, probe }: Found): void {
    if (this.#reading) return
    if (this.#unit !== 0)
      throw new Error(`A message has ${size} bytes, the first one had ${this.#unit}: they cannot be counted.`)
    this.#unit = size
    this.#probe = Buffer.from(bytes.subarray(at, at + probe))
  }
}
