import { damonError } from '@damon/protocol/errors'
import { isAddress } from '@damon/protocol/names'
import {
  accept,
  checkEvent,
  type EventContract,
  type InputOf,
  type OutputOf,
  type RequestContract,
  type Schema,
} from './contract.ts'
import { deferred } from './deferred.ts'
import type { Outbound, Outgoing } from './outbound.ts'
import type { Request } from './request.ts'
import type { RequestOptions, Requests } from './requests.ts'
import { encodeValue } from './values.ts'

/** How a message is sent. */
export interface SendOptions {
  /** Takes it back where it was not sent yet; rejects with the signal's reason at once. */
  signal?: AbortSignal
}

/** A value and what comes behind it; what may be undefined may be left out. */
type Given<Value, Options> = undefined extends Value
  ? [value?: Value, options?: Options]
  : [value: Value, options?: Options]

/** Somebody to speak to: a client, a group, one member of a group, or all. */
export class Destination {
  readonly #to: string
  readonly #any: boolean
  readonly #outbound: Outbound
  readonly #requests: Requests
  readonly #timeoutMs: number

  /** Throws `bad_field` for what is no address. */
  constructor(
    to: string,
    any: boolean,
    { outbound, requests, timeoutMs }: { outbound: Outbound; requests: Requests; timeoutMs: number },
  ) {
    if (!isAddress(to)) throw damonError('bad_field', `to: "${to}" is no address.`, { field: 'to' })
    this.#to = to
    this.#any = any
    this.#outbound = outbound
    this.#requests = requests
    this.#timeoutMs = timeoutMs
  }

  /**
   * Sends a message, and resolves when the death of the hub's worker cannot lose it any more. Without a connection it
   * waits for one. Rejects with what the hub refused it for, `disconnected` or `timed_out` when it was not sent in
   * time, `unknown_outcome` when it was sent and the session or the acknowledgement was lost.
   */
  send<Value extends Schema>(event: EventContract<Value>, ...given: Given<InputOf<Value>, SendOptions>): Promise<void>
  send(event: string, value?: unknown, options?: SendOptions): Promise<void>
  send(what: string | EventContract, value?: unknown, { signal }: SendOptions = {}): Promise<void> {
    const event = nameOf(what)
    const settled = deferred<void>()
    try {
      checkEvent(event)
      signal?.throwIfAborted()
      const abort = () => {
        this.#outbound.withdraw(outgoing)
        settled.reject(signal?.reason)
      }
      const outgoing: Outgoing = {
        frame: { type: 'send', number: 0, again: false, any: this.#any, to: this.#to, event, ...encodeValue(value) },
        expiresAt: performance.now() + this.#timeoutMs,
        done: (error) => {
          signal?.removeEventListener('abort', abort)
          if (error) settled.reject(error)
          else settled.resolve()
        },
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#outbound.add(outgoing)
    } catch (error) {
      settled.reject(error)
    }
    return settled.promise
  }

  /** Asks, and gathers one answer from each receiver: `await` for all of them, `for await` for each as it comes. */
  request<Asks extends Schema, Answers extends Schema, Parts extends Schema>(
    request: RequestContract<Asks, Answers, Parts>,
    ...given: Given<InputOf<Asks>, RequestOptions<OutputOf<Parts>>>
  ): Request<OutputOf<Answers>>
  request<T = unknown>(event: string, value?: unknown, options?: RequestOptions): Request<T>
  request(what: string | RequestContract, value?: unknown, options: RequestOptions = {}): Request {
    const event = nameOf(what)
    checkEvent(event)
    const { answers, parts } = typeof what === 'string' ? {} : (what as Partial<RequestContract>)
    const { onPart } = options
    const checked = parts && onPart ? { ...options, onPart: typedPart(parts, onPart) } : options
    return this.#requests.request(this.#to, this.#any, event, value, checked, answers)
  }
}

function typedPart(schema: Schema, onPart: NonNullable<RequestOptions['onPart']>): typeof onPart {
  return (part) => onPart({ ...part, value: accept(schema, part.value) })
}

function nameOf(what: string | { event: string }): string {
  return typeof what === 'string' ? what : what.event
}
