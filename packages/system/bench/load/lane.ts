/** A way from senders to receivers, and how far its messages have come: done is what all receivers have. */
export class Lane {
  readonly #receivers: number
  readonly #window: number
  readonly #write: (from: number, count: number) => void
  /** Of each message in flight, how many receivers have it. */
  readonly #reached: Uint32Array
  /** Of each receiver, how many messages it has. */
  readonly #arrived: Float64Array
  #sent = 0
  #done = 0
  #deliveries = 0
  #open = false
  #quiet: (() => void) | undefined

  constructor(options: {
    receivers: number
    /** Messages in flight, at most. */
    window: number
    /** Sends that many messages; `from` is the number of the first one. */
    write: (from: number, count: number) => void
  }) {
    this.#receivers = options.receivers
    this.#window = options.window
    this.#write = options.write
    this.#reached = new Uint32Array(options.window)
    this.#arrived = new Float64Array(options.receivers)
  }

  /** Messages that all receivers have. */
  get done(): number {
    return this.#done
  }

  get deliveries(): number {
    return this.#deliveries
  }

  /** Fills the window, and keeps it full. */
  start(): void {
    this.#open = true
    this.#fill()
  }

  /** Sends one message; resolves when all receivers have it. */
  once(): Promise<void> {
    this.#send(1)
    return this.quiet()
  }

  /** Sends no more; resolves when all receivers have everything. */
  quiet(): Promise<void> {
    this.#open = false
    return new Promise((resolve) => {
      if (this.#done === this.#sent) resolve()
      else this.#quiet = resolve
    })
  }

  /** A receiver got messages. */
  arrive(receiver: number, messages: number): void {
    const window = this.#window
    const from = this.#arrived[receiver] ?? 0
    const to = from + messages
    if (to > this.#sent) throw new Error('More messages came than were sent.')
    this.#arrived[receiver] = to
    this.#deliveries += messages
    for (let message = from; message < to; message++) {
      const at = message % window
      const reached = (this.#reached[at] ?? 0) + 1
      if (reached < this.#receivers) this.#reached[at] = reached
      else {
        this.#reached[at] = 0
        this.#done++
      }
    }
    if (this.#open) this.#fill()
    else if (this.#done === this.#sent) this.#quiet?.()
  }

  #fill(): void {
    const count = this.#window - (this.#sent - this.#done)
    if (count > 0) this.#send(count)
  }

  #send(count: number): void {
    const from = this.#sent
    this.#sent += count
    this.#write(from, count)
  }
}
