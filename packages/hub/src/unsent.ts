/** Frames that were written to a socket and that the kernel has not taken, in the order of their writes. */
export class Unsent {
  /** Of each write its bytes and its frames, in turn. */
  #writes: number[] | undefined
  #bytes = 0
  #frames = 0

  get frames(): number {
    return this.#frames
  }

  /** A write that the kernel did not take at once. */
  add(bytes: number, frames: number): void {
    this.#writes ??= []
    this.#writes.push(bytes, frames)
    this.#bytes += bytes
    this.#frames += frames
  }

  /** The kernel has taken all but so many bytes; what others wrote to the socket may be among these. */
  left(bytes: number): void {
    const writes = this.#writes
    if (!writes) return
    let taken = 0
    while (taken < writes.length && this.#bytes - (writes[taken] ?? 0) >= bytes) {
      this.#bytes -= writes[taken] ?? 0
      this.#frames -= writes[taken + 1] ?? 0
      taken += 2
    }
    if (taken === writes.length) this.#writes = undefined
    else if (taken > 0) writes.splice(0, taken)
  }
}
