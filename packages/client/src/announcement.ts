import { DamonError, damonError } from '@damon/protocol/errors'
import { Backoff } from './backoff.ts'
import { type Deferred, deferred, quiet, unlessAborted, unrefTimer } from './deferred.ts'
import { encodeRecord, type Records, type Written } from './records.ts'

/** What an announcement needs of its hub. */
export interface AnnouncementHome {
  records: Records
  isConnected(): boolean
  report(error: unknown): void
  /** The announcement is over. */
  forget(): void
}

/** What may pass by itself, beside what the table of errors says: another owner goes, a predecessor's lease ends. */
const passing = new Set(['not_owner', 'conflict', 'unknown_outcome'])

/**
 * A leased record that this client keeps: put, put again after every reconnect, always with the latest value. What the
 * hub refuses for good is told by `ready` and `update`, and tried again with the next session or value.
 */
export class Announcement<T = unknown> implements AsyncDisposable {
  readonly key: string
  readonly #home: AnnouncementHome
  readonly #backoff = new Backoff({ baseMs: 500, maxMs: 15_000 }, Math.random)
  #value: Uint8Array
  /** Counts values, to know which one the hub has. */
  #version = 1
  #stored = 0
  /** What the hub last said of this client's own record: another owner's is higher. */
  #written: Written | undefined
  #toldOther = false
  /** The record was put in this session. */
  #owned = false
  #session = 0
  #busy: Promise<void> | undefined
  #waiters: { version: number; settled: Deferred<void> }[] = []
  #refused: DamonError | undefined
  #over: DamonError | undefined
  /** Ends the pause before the next try. */
  #resume: (() => void) | undefined

  /** Throws `too_large`, and `bad_field` for what JSON cannot say. */
  constructor(key: string, value: T, home: AnnouncementHome) {
    this.key = key
    this.#value = encodeRecord(value)
    this.#home = home
    this.#reconcile()
  }

  /** Resolves when the hub has the record with its latest value; rejects when it refuses it, or after `drop` and close. */
  ready(signal?: AbortSignal): Promise<void> {
    const error = this.#over ?? this.#refused
    const settled = deferred<void>()
    if (error) settled.reject(error)
    else if (this.#owned && this.#stored >= this.#version) settled.resolve()
    else this.#waiters.push({ version: this.#version, settled })
    return quiet(unlessAborted(settled.promise, signal))
  }

  /** Changes the value, and resolves when the hub has it or a later one. While disconnected it waits, however long, or until aborted; the value is changed all the same. */
  update(value: T, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    if (this.#over) return quiet(Promise.reject(this.#over))
    try {
      this.#value = encodeRecord(value)
    } catch (error) {
      return quiet(Promise.reject(error))
    }
    this.#version++
    this.#refused = undefined
    this.#reconcile()
    return this.ready(signal)
  }

  /** Takes the record away, telling its watchers why. It is not put again. */
  drop(reason: string): Promise<void> {
    if (this.#over) return Promise.resolve()
    this.close(damonError('closed', 'The announcement was dropped.'))
    this.#home.forget()
    return quiet(this.#drop(reason))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.drop('done')
  }

  /** A session began, or goes on. Unless its records were `kept` in it, the record is put again. */
  up(kept: boolean): void {
    if (!kept) {
      this.#session++
      this.#owned = false
    }
    this.#refused = undefined
    this.#backoff.reset()
    this.#resume?.()
    this.#reconcile()
  }

  /** Ends it without a word to the hub. */
  close(error: DamonError): void {
    this.#over = error
    this.#resume?.()
    this.#settle(Number.POSITIVE_INFINITY, error)
  }

  async #drop(reason: string): Promise<void> {
    await this.#busy
    // Never put in any session: there is nothing to take away.
    if (this.#stored === 0) return
    try {
      // Put in an earlier session: only if nobody has written it since.
      await this.#home.records.drop(this.key, reason, {
        expect: this.#owned ? undefined : this.#written?.revision,
      })
    } catch (error) {
      const gone = error instanceof DamonError && (error.code === 'not_found' || error.code === 'conflict')
      if (!gone) throw error
    }
  }

  #reconcile(): void {
    const done = this.#owned && this.#stored >= this.#version
    if (this.#busy || this.#over || this.#refused || done || !this.#home.isConnected()) return
    this.#busy = this.#store().finally(() => {
      this.#busy = undefined
      this.#reconcile()
    })
  }

  /** Brings the latest value to the hub. Never rejects. */
  async #store(): Promise<void> {
    const version = this.#version
    const session = this.#session
    try {
      const { records } = this.#home
      // A client that was frozen for longer than its lease must not overwrite whoever took over.
      const mine = { lease: true, generation: this.#written?.generation }
      this.#written = await (this.#owned
        ? records.patchBytes(this.key, this.#value)
        : records.putBytes(this.key, this.#value, mine))
      this.#stored = version
      this.#toldOther = false
      this.#owned = session === this.#session
      this.#backoff.reset()
      if (this.#owned) this.#settle(version)
    } catch (cause) {
      const error = cause instanceof DamonError ? cause : damonError('internal', undefined, { cause })
      const lostLease = this.#owned && (error.code === 'not_found' || error.code === 'not_owner')
      this.#owned = false
      // A write whose outcome is unknown changes nothing: if it raised the generation, the hub knows it for this session's own,
      // or the record ends with the session that wrote it.
      if (session !== this.#session || lostLease) return
      if (error.retry || passing.has(error.code)) await this.#pause(error)
      else if (version === this.#version) this.#refuse(error)
    }
  }

  #refuse(error: DamonError): void {
    if (this.#over) return
    this.#refused = error
    this.#home.report(error)
    this.#settle(Number.POSITIVE_INFINITY, error)
  }

  async #pause(error: DamonError): Promise<void> {
    if (this.#over || !this.#home.isConnected()) return
    const other = error.code === 'not_owner' || error.code === 'conflict'
    if (other && !this.#toldOther) this.#home.report(error)
    this.#toldOther ||= other
    const { promise, resolve } = deferred<void>()
    const timer = unrefTimer(resolve, this.#backoff.next())
    this.#resume = resolve
    await promise
    clearTimeout(timer)
    this.#resume = undefined
  }

  #settle(version: number, error?: DamonError): void {
    const settled = this.#waiters.filter((waiter) => waiter.version <= version)
    this.#waiters = this.#waiters.filter((waiter) => waiter.version > version)
    for (const waiter of settled) error ? waiter.settled.reject(error) : waiter.settled.resolve()
  }
}
