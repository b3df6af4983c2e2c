import type { DamonError } from '@damon/protocol/errors'
import type { ClientFrame, HubControlFrame } from '@damon/protocol/frames'
import { lastCallId } from './calls.ts'
import type { RecordContract } from './contract.ts'
import { type CallOptions, checkPrefix, keyOf, schemaOf } from './records.ts'
import { Watch } from './watch.ts'

/** The watches of this client, by the id they have on this connection. */
export class Watches {
  readonly #send: (frame: ClientFrame) => boolean
  readonly #report: (error: unknown) => void
  readonly #byId = new Map<number, Watch>()
  #lastId = lastCallId

  constructor(send: (frame: ClientFrame) => boolean, report: (error: unknown) => void) {
    this.#send = send
    this.#report = report
  }

  watch<T>(records: string | RecordContract, { signal }: CallOptions = {}): Watch<T> {
    const prefix = keyOf(records)
    checkPrefix(prefix)
    signal?.throwIfAborted()
    const id = ++this.#lastId
    const abort = () => watch.close()
    const dispose = () => {
      signal?.removeEventListener('abort', abort)
      this.#byId.delete(id)
      this.#send({ type: 'unwatch', id })
    }
    const watch = new Watch<T>(prefix, this.#report, dispose, schemaOf(records))
    signal?.addEventListener('abort', abort, { once: true })
    this.#byId.set(id, watch as Watch)
    this.#send({ type: 'watch', id, prefix })
    return watch
  }

  /** Asks again for all: each gets a new snapshot. */
  up(): void {
    for (const [id, { prefix }] of this.#byId) this.#send({ type: 'watch', id, prefix })
  }

  down(): void {
    for (const watch of this.#byId.values()) watch.interrupt()
  }

  /** False when no watch has this id. */
  records(frame: Extract<HubControlFrame, { type: 'records' }>): boolean {
    const watch = this.#byId.get(frame.id)
    watch?.take(frame)
    return watch !== undefined
  }

  refuse(id: number, error: DamonError): boolean {
    const watch = this.#byId.get(id)
    this.#byId.delete(id)
    watch?.finish(error)
    return watch !== undefined
  }

  close(error: DamonError | undefined): void {
    for (const watch of this.#byId.values()) watch.finish(error)
    this.#byId.clear()
  }
}
