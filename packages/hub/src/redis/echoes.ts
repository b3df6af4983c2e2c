/** How long an echo may take, ms. */
const echoMs = 1_000

interface Open {
  arrived: Set<number>
  wanted: number | undefined
  resolve: () => void
}

/** Waits for what scripts of this worker send through its own subscription: then all that was published before has come. */
export class Echoes {
  readonly #open = new Map<string, Open>()

  /** To be called before the script is sent: its echo may be quicker than its answer. */
  expect(name: string): { numbered(count: number): Promise<void> } & Disposable {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const open: Open = { arrived: new Set(), wanted: undefined, resolve }
    this.#open.set(name, open)
    let timer: NodeJS.Timeout | undefined
    return {
      numbered: (count) => {
        open.wanted = count
        if (open.arrived.has(count)) resolve()
        else timer = setTimeout(() => reject(new Error('The subscription did not bring the echo.')), echoMs)
        return promise
      },
      [Symbol.dispose]: () => {
        clearTimeout(timer)
        if (this.#open.get(name) === open) this.#open.delete(name)
      },
    }
  }

  /** A script that was sent twice is echoed twice: the number tells which of them it is. */
  arrive(name: string, count: number): void {
    const open = this.#open.get(name)
    open?.arrived.add(count)
    if (open?.wanted === count) open.resolve()
  }
}
