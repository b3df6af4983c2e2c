import { damonError } from '@damon/protocol/errors'
import { isAddress, isEvent } from '@damon/protocol/names'
import { deferred } from './deferred.ts'
import type { Outbound, Outgoing } from './outbound.ts'
import type { Request } from './request.ts'
import type { RequestOptions, Requests } from './requests.ts'
import { encodeValue } from './values.ts'

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
  send(event: string, value?: unknown, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
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
  request<T = unknown>(event: string, value?: unknown, options: RequestOptions = {}): Request<T> {
    checkEvent(event)
    return this.#requests.request(this.#to, this.#any, event, value, options) as Request<T>
  }
}

function checkEvent(event: string): void {
  if (!isEvent(event)) throw damonError('bad_field', `event: "${event}" is no event.`, { field: 'event' })
}
