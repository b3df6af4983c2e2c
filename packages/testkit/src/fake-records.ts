import { DamonError } from '@damon/protocol/errors'
import { isUnder } from '@damon/protocol/names'

/** A record in the fake. */
export interface FakeRecord {
  value: unknown
  leased: boolean
}

/**
 * Records as a hub keeps them, in memory and at once: put, drop, watch and announce with the shapes of the SDK's Hub.
 * It checks no rights. Tests of what is built on records use it where no connection is needed.
 */
export class FakeRecords {
  readonly entries = new Map<string, FakeRecord>()
  /** The next writes fail with these, one each. */
  readonly failures: DamonError[] = []
  /** Every write: `put KEY`, `drop KEY`. */
  readonly log: string[] = []
  readonly #watches = new Set<FakeWatch>()

  watch = (prefix: string): FakeWatch => {
    const watch = new FakeWatch(prefix, this.entries, () => this.#watches.delete(watch))
    this.#watches.add(watch)
    return watch
  }

  put = async (key: string, value: unknown): Promise<void> => {
    this.#write(key, { value: structuredClone(value), leased: false })
  }

  drop = async (key: string, _reason: string): Promise<void> => {
    if (!this.entries.has(key)) throw new DamonError('not_found', 'There is no such record.')
    this.#write(key, undefined)
  }

  announce = (key: string, value: unknown) => {
    const write = async (next: unknown) => this.#write(key, { value: structuredClone(next), leased: true })
    const ready = write(value)
    return { ready: () => ready, update: write, drop: (reason: string) => this.drop(key, reason) }
  }

  /** Puts a record there as a hub with a will of its own could. */
  forge(key: string, record: FakeRecord): void {
    this.entries.set(key, record)
    this.#tell(key)
  }

  #write(key: string, record: FakeRecord | undefined): void {
    const failure = this.failures.shift()
    if (failure) throw failure
    this.log.push(`${record ? 'put' : 'drop'} ${key}`)
    if (record) this.entries.set(key, record)
    else this.entries.delete(key)
    this.#tell(key)
  }

  #tell(key: string): void {
    for (const watch of this.#watches) watch.tell(key)
  }
}

class FakeWatch implements Disposable {
  readonly #prefix: string
  readonly #all: Map<string, FakeRecord>
  readonly #listeners = new Set<() => void>()
  readonly #end: () => void

  constructor(prefix: string, all: Map<string, FakeRecord>, end: () => void) {
    this.#prefix = prefix
    this.#all = all
    this.#end = end
  }

  get entries(): ReadonlyMap<string, FakeRecord> {
    return new Map([...this.#all].filter(([key]) => isUnder(this.#prefix, key)))
  }

  async ready(): Promise<void> {}

  on(_event: 'change', listener: () => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  tell(key: string): void {
    if (isUnder(this.#prefix, key)) for (const listener of this.#listeners) listener()
  }

  [Symbol.dispose](): void {
    this.#end()
  }
}
