/** Memory is taken in blocks of this many bytes: few enough, since who is slow to take one frame keeps all of its block. */
const blockBytes = 16 * 1024

/** Memory for frames, given out in a row, so that whoever was given the latest of it can have more in place. */
export class Room {
  #block = Buffer.alloc(0)
  #end = 0

  /** As many bytes in a block, to be used from `at` on. */
  take(bytes: number): { block: Buffer; at: number } {
    if (bytes > this.#block.length - this.#end) {
      this.#block = Buffer.allocUnsafeSlow(Math.max(bytes, blockBytes))
      this.#end = 0
    }
    const at = this.#end
    this.#end += bytes
    return { block: this.#block, at }
  }

  /** More bytes for whoever's end in the block; false: they are taken, or not there. */
  extend(block: Buffer, end: number, bytes: number): boolean {
    if (block !== this.#block || end !== this.#end || bytes > block.length - end) return false
    this.#end += bytes
    return true
  }
}
