import { type DamonError, damonError } from '@damon/protocol/errors'
import type { ClientFrame, HubControlFrame, HubPartFrame, VerdictFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { type AnswerPart, answerOf, partyOf } from './answer.ts'
import type { Schema } from './contract.ts'
import { unrefTimer } from './deferred.ts'
import type { Outbound, Outgoing } from './outbound.ts'
import { Request } from './request.ts'
import { decodeValue, encodeValue } from './values.ts'

type SettledFrame = Extract<HubControlFrame, { type: 'settled' }>

/** How a request is made. */
export interface RequestOptions<Part = unknown> {
  /** Milliseconds that receivers have; default 5,000, at most 300,000. It waits as long for a connection. */
  deadline?: number
  /** Rejects with the signal's reason, and withdraws the request. */
  signal?: AbortSignal
  /** Settle after so many answers; 0 = all. */
  quorum?: number
  /** Asked twice it does no more than once: `any` may ask another member when the first is gone before it answered. */
  idempotent?: boolean
  /** Called with each piece that a receiver sends before its answer. */
  onPart?(part: AnswerPart<Part>): void
}

/** How much later than the deadline the hub's last word may come. */
const settleMs = 10_000

interface Open {
  request: Request
  /** Of its answers. */
  schema: Schema | undefined
  onPart: ((part: AnswerPart) => void) | undefined
  guard: ReturnType<typeof setTimeout>
}

/** The requests of this client that are not settled, by their number. */
export class Requests {
  readonly #outbound: Outbound
  readonly #send: (frame: ClientFrame) => boolean
  readonly #report: (error: unknown) => void
  readonly #open = new Map<number, Open>()
  #end: DamonError | undefined

  constructor(outbound: Outbound, send: (frame: ClientFrame) => boolean, report: (error: unknown) => void) {
    this.#outbound = outbound
    this.#send = send
    this.#report = report
  }

  request(to: string, any: boolean, event: string, value: unknown, options: RequestOptions, schema?: Schema): Request {
    const { deadline = limits.defaultDeadlineMs, quorum = 0, idempotent = false, signal, onPart } = options
    let number: number | undefined
    const request = new Request(() => {
      if (number !== undefined) this.#send({ type: 'cancel', request: number })
      else if (this.#outbound.withdraw(outgoing)) request.settle()
    })
    const outgoing: Outgoing = {
      frame: { ...unnumbered, type: 'request', any, idempotent, to, event, deadline, quorum },
      expiresAt: performance.now() + deadline,
      sent: (own) => {
        number = own
        const guard = unrefTimer(() => this.#lose(own, damonError('timed_out')), deadline + settleMs)
        this.#open.set(own, { request, schema, onPart, guard })
        // Sent: from now on the hub's words and the guard decide, not the wait for a connection.
        outgoing.expiresAt += settleMs + deadline
      },
      done: (error) => {
        if (!error) return
        if (number !== undefined) this.#forget(number)
        if (error.code === 'unknown_outcome') request.lose(error)
        else request.fail(error)
      },
    }
    try {
      if (this.#end) throw this.#end
      if (!(Number.isInteger(deadline) && deadline > 0 && deadline <= limits.deadlineMs))
        throw damonError('bad_field', `deadline: 1 to ${limits.deadlineMs} ms.`, { field: 'deadline' })
      if (!(Number.isInteger(quorum) && quorum >= 0 && quorum <= 0xffff))
        throw damonError('bad_field', 'quorum: 0 to 65535.', { field: 'quorum' })
      if (this.#open.size >= limits.openRequests) throw damonError('overloaded', 'Too many requests are open.')
      signal?.throwIfAborted()
      Object.assign(outgoing.frame, encodeValue(value))
    } catch (error) {
      request.fail(error)
      return request
    }
    if (signal) this.#cancelWith(signal, request)
    this.#outbound.add(outgoing)
    return request
  }

  verdict(frame: VerdictFrame): void {
    const open = this.#open.get(frame.request)
    open?.request.take(answerOf(frame, open.schema))
  }

  part({ request: number, from, session, payload, bytes }: HubPartFrame): void {
    const onPart = this.#open.get(number)?.onPart
    if (!onPart) return
    try {
      onPart({ ...partyOf(from), session, value: decodeValue({ bytes, payload }) })
    } catch (error) {
      this.#report(error)
    }
  }

  settled(number: number): void {
    this.#forget(number)?.settle()
  }

  /** All up to this request but for some are settled; where words on them were lost, what is missing cannot be known. */
  settledUpTo({ request, except = [], lost = false }: SettledFrame): void {
    const open = new Set(except)
    for (const number of [...this.#open.keys()]) {
      if (number > request || open.has(number)) continue
      if (lost) this.#lose(number, damonError('disconnected', 'Some of the answers were lost with the connection.'))
      else this.settled(number)
    }
  }

  refuse(number: number, error: DamonError): void {
    this.#forget(number)?.fail(error)
  }

  /** The session is not a continuation: what was open cannot be known any more. */
  lost(): void {
    for (const number of [...this.#open.keys()]) this.#lose(number, damonError('disconnected'))
  }

  close(error: DamonError): void {
    this.#end = error
    for (const number of [...this.#open.keys()]) this.refuse(number, error)
  }

  #lose(number: number, cause: DamonError): void {
    this.#forget(number)?.lose(cause)
  }

  #forget(number: number): Request | undefined {
    const open = this.#open.get(number)
    this.#open.delete(number)
    clearTimeout(open?.guard)
    return open?.request
  }

  #cancelWith(signal: AbortSignal, request: Request): void {
    const abort = () => request.abort(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    const forget = () => signal.removeEventListener('abort', abort)
    request.then(forget, forget)
  }
}

const unnumbered = { number: 0, again: false, bytes: false, payload: new Uint8Array() }
