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
  readonly #resync: (prefix: string) => void
  readonly #byId = new Map<number, Watch>()
  #lastId = lastCallId
  #epoch: string | undefined

  /** `resync` hears of watches that had something else than the hub. */
  constructor(
    send: (frame: ClientFrame) => boolean,
    report: (error: unknown) => void,
    resync: (prefix: string) => void,
  ) {
    this.#send = send
    this.#report = report
    this.#resync = resync
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

  /** Asks again for all: each gets what changed since, or a new snapshot. Revisions of another epoch mean nothing. */
  up(epoch: string): void {
    const same = epoch === this.#epoch
    this.#epoch = epoch
    for (const [id, { prefix, revision }] of this.#byId)
      this.#send({ type: 'watch', id, prefix, revision: same ? revision : undefined })
  }

  /** What the hub says that watches must have now, by id. */
  check(digests: Record<string, string>): void {
    for (const [id, digest] of Object.entries(digests)) {
      const watch = this.#byId.get(Number(id))
      if (!watch || watch.check(digest)) continue
      this.#send({ type: 'watch', id: Number(id), prefix: watch.prefix, resync: true })
      this.#resync(watch.prefix)
    }
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
