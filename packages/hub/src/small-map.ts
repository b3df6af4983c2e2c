/** A map that mostly has one entry and then costs little: an empty Map already takes 200 bytes. Keeps no order. */
export class SmallMap<K, V> {
  /** The only entry, as long as there has never been another beside it. */
  #only: K | undefined
  #value: V | undefined
  #many: Map<K, V> | undefined

  get size(): number {
    if (this.#many) return this.#many.size
    return this.#only === undefined ? 0 : 1
  }

  has(key: K): boolean {
    return this.#many ? this.#many.has(key) : this.#only === key
  }

  set(key: K, value: V): void {
    if (!this.#many) {
      if (this.#only === undefined || this.#only === key) {
        this.#only = key
        this.#value = value
        return
      }
      this.#many = new Map([[this.#only, this.#value as V]])
      this.#only = undefined
      this.#value = undefined
    }
    this.#many.set(key, value)
  }

  /** True: it was there. */
  delete(key: K): boolean {
    if (this.#many) return this.#many.delete(key)
    if (this.#only !== key) return false
    this.#only = undefined
    this.#value = undefined
    return true
  }

  each(act: (value: V, key: K) => void): void {
    if (this.#many) this.#many.forEach(act)
    else if (this.#only !== undefined) act(this.#value as V, this.#only)
  }
}
