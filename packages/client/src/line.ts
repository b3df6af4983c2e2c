import { decodeHubFrame, encodeClientFrame } from '@damon/protocol/codec-binary'
import { decodeHubText, encodeClientText } from '@damon/protocol/codec-json'
import { DamonError, damonError } from '@damon/protocol/errors'
import { type ClientFrame, type Codec, type HubControlFrame, type HubFrame, subprotocols } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { unrefTimer } from './deferred.ts'
import { Heartbeat } from './heartbeat.ts'
import { closed, type LineEnd, refusal } from './refusal.ts'
import type { Dial, Lookup, Socket } from './transport.ts'

export type WelcomeFrame = Extract<HubControlFrame, { type: 'welcome' }>
export type HelloFrame = Extract<ClientFrame, { type: 'hello' }>

/** From dialling to the welcome. */
const handshakeMs = 10_000
/** How long the hub may take to answer a bye, or a closing handshake. */
const leaveMs = 2_000
/** Larger messages of the hub end the connection: base64 and the JSON around it may grow a full frame by half. */
const maxBytes = 4 * limits.frameBytes

/** How one connection is made. */
export interface LineSettings {
  url: string
  dial: Dial
  codec: Codec
  ca?: string | undefined
  lookup?: Lookup | undefined
  /** Answers the hub's challenge. `host` is the name that was dialled, without port. */
  hello(nonce: string, host: string): Promise<HelloFrame>
  random(): number
}

/** What a line tells. After `end` it tells nothing more. */
export interface LineEvents {
  welcome(frame: WelcomeFrame): void
  /** Everything after the welcome. What it throws ends the line as garbled. */
  frame(frame: HubFrame): void
  end(end: LineEnd): void
}

/** One connection to a hub, from dialling to its end: handshake, codec, heartbeat. */
export class Line {
  readonly #settings: LineSettings
  readonly #events: LineEvents
  readonly #socket: Socket
  #phase: 'dialled' | 'challenged' | 'open' | 'ended' = 'dialled'
  #refusal: DamonError | undefined
  #heartbeat: Heartbeat | undefined
  #timer: ReturnType<typeof setTimeout>

  /** Throws what the transport throws for a URL that is none. */
  constructor(settings: LineSettings, events: LineEvents) {
    this.#settings = settings
    this.#events = events
    const { url, codec, ca, lookup } = settings
    this.#socket = settings.dial(
      { url, protocol: subprotocols[codec], ca, lookup, maxBytes },
      {
        message: (data) => this.#message(data),
        close: (code, reason, error) => this.#closed(code, reason, error),
      },
    )
    // Not unref'd: a process that has nothing but its hub waits for it.
    this.#timer = setTimeout(() => {
      this.#fail('handshake', damonError('disconnected', `No welcome came within ${handshakeMs / 1000} s.`))
    }, handshakeMs)
  }

  /** Sends a frame; nothing happens before the welcome and after the end. */
  send(frame: ClientFrame): void {
    if (this.#phase === 'open') this.#write(frame)
  }

  /** Says bye, which ends the session. The line ends when the hub has closed it, or after two seconds. */
  leave(reason: string): void {
    if (this.#phase !== 'open') {
      this.drop('bye')
      return
    }
    this.#write({ type: 'bye', reason: reason.slice(0, limits.reasonBytes) })
    clearTimeout(this.#timer)
    this.#heartbeat = undefined
    this.#timer = setTimeout(() => this.drop('bye'), leaveMs)
  }

  /** Closes without ending the session, which may be resumed elsewhere. */
  hangUp(reason: string): void {
    if (this.#phase === 'ended') return
    this.#socket.close()
    unrefTimer(() => this.#socket.terminate(), leaveMs)
    this.#end({ reason, error: damonError('disconnected', 'The hub asked to leave.'), retry: true })
  }

  /** Ends at once. */
  drop(reason: string): void {
    this.#fail(reason, damonError('disconnected'))
  }

  #write(frame: ClientFrame): void {
    let data: Uint8Array | string
    try {
      data = this.#settings.codec === 'binary' ? encodeClientFrame(frame) : encodeClientText(frame)
    } catch (cause) {
      // What users give is checked before; a session whose numbers ran out needs a new one.
      this.#fail('garbled', cause instanceof DamonError ? cause : damonError('bad_frame', undefined, { cause }))
      return
    }
    this.#socket.send(data)
  }

  #fail(reason: string, error: DamonError, retry = true): void {
    this.#socket.terminate()
    this.#end({ reason, error, retry })
  }

  #message(data: Uint8Array | string): void {
    if (this.#phase === 'ended') return
    this.#heartbeat?.heard(performance.now())
    try {
      this.#take(this.#decode(data))
    } catch (cause) {
      const error = cause instanceof DamonError ? cause : damonError('bad_frame', 'Taking it failed.', { cause })
      this.#fail('garbled', error)
    }
  }

  #decode(data: Uint8Array | string): HubFrame {
    if (this.#settings.codec === 'binary') {
      if (typeof data === 'string') throw damonError('bad_frame', 'The hub sent text where binary was agreed.')
      return decodeHubFrame(data)
    }
    if (typeof data !== 'string') throw damonError('bad_frame', 'The hub sent binary where text was agreed.')
    return decodeHubText(data)
  }

  #take(frame: HubFrame): void {
    if (this.#phase === 'open') {
      // Only what the hub said last can be why it closes.
      const unaddressed = frame.type === 'error' && frame.id === undefined && frame.number === undefined
      this.#refusal = unaddressed ? refusal(frame) : undefined
      if (frame.type === 'challenge' || frame.type === 'welcome')
        throw damonError('unexpected_frame', `The hub sent a second ${frame.type}.`)
      this.#events.frame(frame)
    } else if (frame.type === 'challenge' && this.#phase === 'dialled') {
      this.#phase = 'challenged'
      void this.#answer(frame.nonce)
    } else if (frame.type === 'welcome' && this.#phase === 'challenged') {
      this.#phase = 'open'
      clearTimeout(this.#timer)
      this.#heartbeat = new Heartbeat(frame.heartbeatMs, performance.now(), this.#settings.random())
      this.#beat()
      this.#events.welcome(frame)
    } else if (frame.type === 'error') {
      const error = refusal(frame)
      this.#socket.close()
      unrefTimer(() => this.#socket.terminate(), leaveMs)
      this.#end({ reason: error.code, error, retry: frame.retry, retryAfterMs: frame.retryAfterMs })
    } else {
      throw damonError('unexpected_frame', `The hub sent ${frame.type} before the welcome.`)
    }
  }

  async #answer(nonce: string): Promise<void> {
    try {
      const hello = await this.#settings.hello(nonce, new URL(this.#settings.url).hostname)
      if (this.#phase === 'challenged') this.#write(hello)
    } catch (cause) {
      const error = cause instanceof DamonError ? cause : damonError('bad_credential', 'No proof.', { cause })
      this.#fail('handshake', error, error.retry)
    }
  }

  #beat(): void {
    const now = performance.now()
    const heartbeat = this.#heartbeat
    if (!heartbeat) return
    const step = heartbeat.step(now)
    if (step === 'dead') {
      this.#lookAgain()
      return
    }
    if (step === 'ping') {
      this.#write({ type: 'ping', t: Math.round(now) })
      heartbeat.pinged(now)
    }
    this.#timer = unrefTimer(() => this.#beat(), heartbeat.waitMs(now) + 1)
  }

  /** A process that was busy or asleep has not read what came meanwhile: that is read first. */
  #lookAgain(): void {
    this.#timer = unrefTimer(() => {
      if (this.#heartbeat?.step(performance.now()) !== 'dead') {
        this.#beat()
        return
      }
      this.#fail('silent', damonError('disconnected', 'The hub fell silent.'))
    }, 5)
  }

  #closed(code: number, text: string, cause: unknown): void {
    const end = closed(code, text, this.#phase === 'open', cause)
    this.#end({ ...end, error: this.#refusal ?? end.error })
  }

  #end(end: LineEnd): void {
    if (this.#phase === 'ended') return
    this.#phase = 'ended'
    this.#heartbeat = undefined
    clearTimeout(this.#timer)
    this.#events.end(end)
  }
}
