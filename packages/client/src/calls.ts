import { type DamonError, damonError } from '@damon/protocol/errors'
import type { ClientControlFrame, HubControlFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { type Deferred, deferred, unlessAborted, unrefTimer } from './deferred.ts'
import { type RecordFrameEntry, readEntries } from './record-entry.ts'

type AckFrame = Extract<HubControlFrame, { type: 'ack' }>
type RecordsFrame = Extract<HubControlFrame, { type: 'records' }>

/** Calls have the ids up to this, watches those above. */
export const lastCallId = 0x7fffffff

/** Control frames that the hub answers by their `id`. */
export type CallFrame = Extract<ClientControlFrame, { id: number }>

/** What the hub answered: an `ack`, or the entries of a snapshot. */
export interface CallResult {
  ack?: AckFrame
  entries: RecordFrameEntry[]
}

interface Call {
  frame: CallFrame
  /** Asking twice does no harm: repeated after a reconnect. Otherwise a lost connection leaves the outcome unknown. */
  repeat: boolean
  sent: boolean
  entries: RecordFrameEntry[]
  settled: Deferred<CallResult>
  timer: ReturnType<typeof setTimeout>
}

/** Control frames that wait for their answer. Those made without a connection wait for one. */
export class Calls {
  readonly #send: (frame: ClientControlFrame) => boolean
  readonly #timeoutMs: number
  readonly #open = new Map<number, Call>()
  #lastId = 0
  #end: DamonError | undefined

  constructor(send: (frame: ClientControlFrame) => boolean, timeoutMs: number) {
    this.#send = send
    this.#timeoutMs = timeoutMs
  }

  /** Sends a control frame and waits for its answer. Aborted, it is not sent any more, or its answer is not waited for. */
  call(
    make: (id: number) => CallFrame,
    { repeat, signal }: { repeat: boolean; signal?: AbortSignal | undefined },
  ): Promise<CallResult> {
    const settled = deferred<CallResult>()
    if (this.#end) settled.reject(this.#end)
    else if (signal?.aborted) settled.reject(signal.reason)
    else if (this.#open.size >= limits.openRequests)
      settled.reject(damonError('overloaded', 'Too many calls wait for the hub.'))
    else {
      const id = this.#freeId()
      const timer = unrefTimer(() => this.#expire(id), this.#timeoutMs)
      const call = { frame: make(id), repeat, sent: false, entries: [], settled, timer }
      this.#open.set(id, call)
      call.sent = this.#send(call.frame)
      if (signal) return unlessAborted(settled.promise, signal).finally(() => this.#take(id))
    }
    return settled.promise
  }

  up(): void {
    for (const call of this.#open.values()) {
      call.entries = []
      call.sent = this.#send(call.frame)
    }
  }

  down(): void {
    for (const [id, { sent, repeat }] of this.#open)
      if (sent && !repeat) this.#take(id)?.settled.reject(damonError('unknown_outcome', 'The connection was lost.'))
  }

  /** Answers of the hub; false when no call has this id. */
  acknowledge(frame: AckFrame): boolean {
    const call = frame.id === undefined ? undefined : this.#take(frame.id)
    call?.settled.resolve({ ack: frame, entries: [] })
    return call !== undefined
  }

  refuse(id: number, error: DamonError): boolean {
    const call = this.#take(id)
    call?.settled.reject(error)
    return call !== undefined
  }

  records(frame: RecordsFrame): boolean {
    const call = this.#open.get(frame.id)
    if (!call) return false
    call.entries.push(...readEntries(frame))
    if (!frame.more) this.#take(frame.id)?.settled.resolve({ entries: call.entries })
    return true
  }

  close(error: DamonError): void {
    this.#end = error
    for (const [id, { sent, repeat }] of this.#open)
      this.#take(id)?.settled.reject(
        sent && !repeat ? damonError('unknown_outcome', undefined, { cause: error }) : error,
      )
  }

  #freeId(): number {
    do this.#lastId = this.#lastId >= lastCallId ? 1 : this.#lastId + 1
    while (this.#open.has(this.#lastId))
    return this.#lastId
  }

  #take(id: number): Call | undefined {
    const call = this.#open.get(id)
    if (!call) return undefined
    this.#open.delete(id)
    clearTimeout(call.timer)
    return call
  }

  #expire(id: number): void {
    const call = this.#take(id)
    if (!call) return
    const { sent, repeat, settled } = call
    settled.reject(damonError(!sent ? 'disconnected' : repeat ? 'timed_out' : 'unknown_outcome'))
  }
}
