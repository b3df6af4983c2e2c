import { Duplex } from 'node:stream'

/** What an end of a line usually holds for the other one before its writer has to wait, bytes. */
const usualBytes = 256 * 1024

interface Parcel {
  bytes: Buffer | null
  at: number
  /** Told when the kernel has room again. */
  taken?: (() => void) | undefined
}

/** One end of a line between two parts of the simulation: a socket without a kernel. */
class End extends Duplex {
  /** As a socket counts. */
  bytesRead = 0
  readonly remoteAddress = '127.0.0.1'
  peer: End | undefined
  /** On its way to this end. */
  readonly #coming: Parcel[] = []
  #bytes = 0
  #timer: NodeJS.Timeout | undefined
  readonly #line: Line

  constructor(line: Line) {
    super({ allowHalfOpen: false })
    this.#line = line
  }

  setTimeout(): this {
    return this
  }
  setNoDelay(): this {
    return this
  }
  setKeepAlive(): this {
    return this
  }

  /** Puts something on its way here. */
  bring(bytes: Buffer | null, taken?: () => void): void {
    const last = this.#coming.at(-1)?.at ?? 0
    const parcel: Parcel = { bytes, at: Math.max(last, this.#line.arrival()) }
    this.#coming.push(parcel)
    this.#bytes += bytes?.length ?? 0
    if (this.#bytes > this.#line.kernelBytes) parcel.taken = taken
    else taken?.()
    this.arrange()
  }

  /** Delivers what is due, and looks again when the next is. */
  arrange(): void {
    clearTimeout(this.#timer)
    const next = this.#coming[0]
    if (!next || this.#line.hangs || this.destroyed) return
    const wait = next.at - performance.now()
    this.#timer = setTimeout(() => this.#deliver(), Math.max(wait, 0))
  }

  /** What is on its way is gone. */
  lose(): void {
    clearTimeout(this.#timer)
    this.#coming.length = 0
  }

  #deliver(): void {
    const now = performance.now()
    while (!this.destroyed && this.#coming[0] && this.#coming[0].at <= now) {
      const parcel = this.#coming.shift() as Parcel
      this.#bytes -= parcel.bytes?.length ?? 0
      this.bytesRead += parcel.bytes?.length ?? 0
      this.push(parcel.bytes)
      parcel.taken?.()
    }
    this.arrange()
  }

  override _read(): void {}

  override _write(chunk: Buffer, _: string, taken: () => void): void {
    if (this.peer && !this.peer.destroyed) this.peer.bring(chunk, taken)
    else taken()
  }

  override _final(done: () => void): void {
    this.peer?.bring(null)
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer)
    // The other one learns of it as TCP tells: after what was written before.
    if (!this.peer?.destroyed && !this.#line.isCut) this.peer?.bring(null)
    done(error)
  }
}

/** A line that keeps order, takes its time, and can break. */
export class Line {
  readonly near: Duplex
  readonly far: Duplex
  readonly #ends: readonly [End, End]
  readonly #delay: () => number
  #hangs = false
  isCut = false
  readonly kernelBytes: number

  /** `delay` gives each parcel's time on the way, ms. */
  constructor(delay: () => number, kernelBytes = usualBytes) {
    this.#delay = delay
    this.kernelBytes = kernelBytes
    const [near, far] = [new End(this), new End(this)]
    near.peer = far
    far.peer = near
    this.#ends = [near, far]
    this.near = near
    this.far = far
    for (const end of this.#ends) end.on('error', () => undefined)
  }

  /** Whether nothing moves on it. */
  get hangs(): boolean {
    return this.#hangs
  }

  get isOpen(): boolean {
    return !this.isCut && this.#ends.every((end) => !end.destroyed)
  }

  arrival(): number {
    return performance.now() + this.#delay()
  }

  /** Nothing moves any more, and nobody is told. */
  hang(): void {
    this.#hangs = true
  }

  /** What waited moves on. */
  move(): void {
    this.#hangs = false
    for (const end of this.#ends) end.arrange()
  }

  /** Both ends are told that it is broken; what was on its way is lost. */
  cut(): void {
    this.isCut = true
    for (const end of this.#ends) {
      end.lose()
      end.destroy()
    }
  }
}
