import { isDeepStrictEqual } from 'node:util'
import { Renewal, type RenewalOptions } from './renewal.ts'
import type { Wanted } from './wanted.ts'

interface Running {
  renewal: Renewal
  ending: AbortController
  done: Promise<void>
}

/** The renewals of all wanted certificates; what is wanted may change while they run. */
export class Fleet implements AsyncDisposable {
  readonly #options: RenewalOptions
  readonly #running = new Map<string, Running>()

  constructor(options: RenewalOptions) {
    this.#options = options
  }

  /** In the order of the file. */
  get renewals(): readonly Renewal[] {
    return [...this.#running.values()].map(({ renewal }) => renewal)
  }

  /** The renewal of a certificate, while it is wanted. */
  of(id: string): Renewal | undefined {
    return this.#running.get(id)?.renewal
  }

  /**
   * Runs what is wanted now: what stayed the same goes on, what is gone or different ends first. `changed` are issuers that
   * are not what they were. Rejects, with everything as it was, if a certificate cannot be loaded.
   */
  async apply({ certificates }: Wanted, changed: ReadonlySet<string> = new Set()): Promise<void> {
    const loaded = new Map<string, Renewal>()
    for (const [id, certificate] of Object.entries(certificates)) {
      const wanted = { ...certificate, id }
      const known = this.#running.get(id)?.renewal.wanted
      const stays = isDeepStrictEqual(known, wanted) && !wanted.issuers.some((issuer) => changed.has(issuer))
      if (!stays) loaded.set(id, await Renewal.load(wanted, this.#options))
    }
    const over = [...this.#running].filter(([id]) => loaded.has(id) || !Object.hasOwn(certificates, id))
    for (const [id, { ending }] of over) {
      ending.abort(new Error('not wanted any more'))
      this.#running.delete(id)
    }
    await Promise.all(over.map(([, { done }]) => done))
    for (const [id, renewal] of loaded) {
      const ending = new AbortController()
      this.#running.set(id, { renewal, ending, done: renewal.run(ending.signal) })
    }
  }

  /** Ends all of them; what is under way is given up and taken back. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { ending } of this.#running.values()) ending.abort(new Error('certs is stopping'))
    await Promise.all([...this.#running.values()].map(({ done }) => done))
  }
}
