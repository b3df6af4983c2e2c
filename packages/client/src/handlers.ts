import { DamonError, damonError } from '@damon/protocol/errors'
import type { MessageFrame, ReplyVerdict } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { isSegment } from '@damon/protocol/names'
import { accept, type Schema } from './contract.ts'
import { deferred, quiet, unrefTimer } from './deferred.ts'
import { guard } from './listeners.ts'
import type { Numbered, Outbound } from './outbound.ts'
import { Subscriptions } from './subscriptions.ts'
import { decodeValue, encodeText, encodeValue } from './values.ts'

/** What is known of a message beside its value. */
export interface Message {
  event: string
  /** The sender, `SERVICE/INSTANCE`, as the hub knows it. */
  from: string
  /** The sender's session. */
  session: string
  /** `all`, `group/NAME` or `client/SERVICE/INSTANCE`. */
  to: string
  /** It was for one member of the group, and this is the one. */
  any: boolean
  /** It came after later ones of its sender to other destinations, or may have: it was lost on the way and repaired. */
  late: boolean
}

/** What a handler may want to know of a request beside its value. */
export interface RequestContext<Part = unknown> extends Message {
  /**
   * Aborted when the answer is of no use any more: `cancelled` by the requester or because enough others answered,
   * `timed_out` after the deadline, `disconnected` when the session is lost, `closed` when the client closes.
   */
  signal: AbortSignal
  /**
   * Sends a piece of the answer ahead of the final one. Resolves when it is safe in the hub: who waits for that never
   * sends faster than the hub takes. Throws `bad_field` for what JSON cannot say.
   */
  part(value: Part): Promise<void>
}

export type MessageListener<Value = unknown> = (value: Value, message: Message) => void
/** Answers a request. What it throws becomes the verdict `failed`, with the error's `code` where it has one. */
export type RequestHandler<Value = unknown, Answer = unknown, Part = unknown> = (
  value: Value,
  request: RequestContext<Part>,
) => Answer | Promise<Answer>

/** How requests are taken. */
export interface HandleOptions {
  /** How many of them at a time; those beyond get the verdict `overloaded` at once. Default: no bound. */
  concurrency?: number
}

interface Listener {
  listener: MessageListener
  schema: Schema | undefined
}

interface Handler {
  handler: RequestHandler
  schema: Schema | undefined
  concurrency: number
  running: number
}

interface Running {
  frame: MessageFrame
  /** This client's own session, to which the request was addressed. */
  session: string
  expiresAt: number
  abort: AbortController
}

/** Takes messages and requests to the functions that wait for them, and gives every request its verdict. */
export class Handlers {
  readonly #outbound: Outbound
  readonly #report: (error: unknown) => void
  readonly #listeners = new Subscriptions<Listener>()
  readonly #handlers = new Subscriptions<Handler>()
  /** By the requester's session and number. */
  readonly #running = new Map<string, Running>()
  #draining = false
  #onIdle: (() => void)[] = []

  constructor(outbound: Outbound, report: (error: unknown) => void) {
    this.#outbound = outbound
    this.#report = report
  }

  receive(event: string, listener: MessageListener, schema?: Schema): Disposable {
    return this.#listeners.add(event, { listener, schema })
  }

  handle(event: string, handler: RequestHandler, options: HandleOptions, schema?: Schema): Disposable {
    const { concurrency = Number.POSITIVE_INFINITY } = options
    if (!(concurrency >= 1)) throw damonError('bad_field', 'concurrency: at least 1.', { field: 'concurrency' })
    if (this.#handlers.has(event))
      throw damonError('bad_field', `event: "${event}" has a handler already.`, { field: 'event' })
    return this.#handlers.add(event, { handler, schema, concurrency, running: 0 })
  }

  /** Takes a new message that came to this client's session. */
  take(frame: MessageFrame, session: string): void {
    if (frame.request) void this.#answer(frame, session)
    else this.#hear(frame)
  }

  /** The answer to this request is not needed any more. */
  cancel(session: string, request: number): void {
    this.#running.get(name(session, request))?.abort.abort(damonError('cancelled'))
  }

  /** From now on requests are refused as `draining`. */
  drain(): void {
    this.#draining = true
  }

  /** Resolves when no handler runs whose answer is waited for. */
  idle(): Promise<void> {
    if (this.#running.size === 0) return Promise.resolve()
    const { promise, resolve } = deferred<void>()
    this.#onIdle.push(resolve)
    return promise
  }

  /** Nobody waits for the answers under way any more. */
  lost(error: DamonError): void {
    for (const { abort } of [...this.#running.values()]) abort.abort(error)
  }

  #hear(frame: MessageFrame): void {
    const listeners = this.#listeners.of(frame.event)
    if (listeners.length === 0) return
    let value: unknown
    try {
      value = decodeValue(frame)
    } catch (error) {
      this.#report(error)
      return
    }
    const message = messageOf(frame)
    for (const { listener, schema } of listeners)
      guard(() => listener(schema ? accept(schema, value) : value, message), this.#report)
  }

  async #answer(frame: MessageFrame, session: string): Promise<void> {
    const running = { frame, session, expiresAt: performance.now() + frame.deadline, abort: new AbortController() }
    const registered = this.#handlers.of(frame.event)[0]
    if (this.#draining || !registered) return this.#reply(running, this.#draining ? 'draining' : 'no_handler')
    if (registered.running >= registered.concurrency) return this.#reply(running, 'overloaded')
    this.#running.set(name(frame.session, frame.number), running)
    const timer = unrefTimer(() => running.abort.abort(damonError('timed_out')), frame.deadline)
    const { signal } = running.abort
    signal.addEventListener('abort', () => this.#end(running), { once: true })
    registered.running++
    try {
      const { handler, schema } = registered
      const value = schema ? accept(schema, decodeValue(frame)) : decodeValue(frame)
      const part = (piece: unknown) => this.#part(running, piece)
      const answer = await handler(value, { ...messageOf(frame), signal, part })
      if (!signal.aborted) this.#reply(running, 'answered', '', encodeValue(answer))
    } catch (error) {
      if (!signal.aborted) this.#fail(running, error)
    } finally {
      registered.running--
      clearTimeout(timer)
      this.#end(running)
    }
  }

  /** It is answered, or an answer is of no use: whoever waits for the handlers does not wait for this one. */
  #end(running: Running): void {
    this.#running.delete(name(running.frame.session, running.frame.number))
    if (this.#running.size === 0) for (const resolve of this.#onIdle.splice(0)) resolve()
  }

  #fail(running: Running, error: unknown): void {
    const code = codeOf(error)
    const message = error instanceof Error ? error.message : String(error)
    // A coded error is an answer; anything else is news to whoever wrote the handler.
    if (code === 'handler_failed') this.#report(error)
    this.#reply(running, 'failed', code, { bytes: false, payload: encodeText(message, limits.reasonBytes) })
  }

  #part(running: Running, value: unknown): Promise<void> {
    const { signal } = running.abort
    if (signal.aborted) return quiet(Promise.reject(signal.reason))
    const { session, number: request } = running.frame
    const sent = deferred<void>()
    if (this.#running.get(name(session, request)) !== running)
      sent.reject(damonError('not_addressed', 'It is answered already.'))
    else this.#send(running, { type: 'part', number: 0, again: false, session, request, ...encodeValue(value) }, sent)
    return sent.promise
  }

  #reply(running: Running, verdict: ReplyVerdict, code = '', value = encodeValue(undefined)): void {
    const { session, number: request } = running.frame
    this.#send(running, { type: 'reply', number: 0, again: false, session, request, verdict, code, ...value })
  }

  #send(running: Running, frame: Numbered, sent = deferred<void>()): void {
    this.#outbound.add({
      frame,
      session: running.session,
      expiresAt: running.expiresAt,
      done: (error) => {
        if (!error) return sent.resolve()
        sent.reject(error)
        // Everything else the hub has told the requester already: it timed out, or this session was lost.
        if (error.code !== 'too_large') return
        if (frame.type === 'part') this.#report(error)
        else this.#fail(running, error)
      },
    })
  }
}

function name(session: string, request: number): string {
  return `${session}/${request}`
}

function messageOf({ event, from, session, to, any, late }: MessageFrame): Message {
  return { event, from, session, to, any, late }
}

/** The code an error goes by on the wire: its own where that is one word, in lower case as all names are. */
function codeOf(error: unknown): string {
  if (error instanceof DamonError) return error.code
  const own: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  const code = typeof own === 'string' ? own.toLowerCase() : ''
  return isSegment(code) ? code : 'handler_failed'
}
