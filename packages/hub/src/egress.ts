import type { Duplex } from 'node:stream'
import type { Codec, HubFrame, MessageFrame } from '@damon/protocol/frames'
import { Aside } from './aside.ts'
import type { Range } from './bus.ts'
import type { Context } from './context.ts'
import type { Receiver } from './delivery.ts'
import { Missed } from './missed.ts'
import { Outbox, type OutboxOwner } from './outbox.ts'
import type { Requester } from './requests.ts'
import type { SlowReceiver } from './restraint.ts'
import { Unanswered } from './unanswered.ts'
import { binaryFrame, textFrame, WireFrame, type WireRun } from './wire-run.ts'
import { framesOf } from './ws-frame.ts'

/** How often it is told of a session at most that it is slow, ms. */
const warnEveryMs = 60_000

/** How much longer a frame may be in JSON, where a byte may take six characters. */
const growth = { binary: 1, json: 6 }

/** What a gap that is kept for later takes, bytes. */
const gapBytes = 128

/** The session whose egress it is. */
export interface EgressOwner {
  readonly id: string
  /** What it gets messages of; nothing before it said who it is. */
  readonly channels: readonly string[]
  /** Something is about to be written: what can go along is sent now. */
  writes(): void
  /** It takes frames again that it had refused. */
  drained(): void
  /** It takes nothing and yet causes more: it cannot be served any longer. */
  overflow(): void
}

/**
 * What one session is sent, in its order: what comes for it is kept aside until it may be given, goes out with the tick, and is
 * told as a gap where the session does not take it.
 */
export class Egress implements Receiver, Requester, OutboxOwner, SlowReceiver {
  /** The requests that it was given. */
  readonly unanswered = new Unanswered()
  readonly #context: Context
  readonly #owner: EgressOwner
  readonly #codec: Codec
  readonly #outbox: Outbox
  readonly #missed = new Missed()
  /** What came before it may be given; undefined from then on. */
  #aside: Aside | undefined
  /** The last of the words that counted while others are kept aside, once it was given. */
  #given: Promise<void> | undefined
  #room: PromiseWithResolvers<void> | undefined
  #refusesSince: number | undefined
  #warned = Number.NEGATIVE_INFINITY
  #closed = false

  constructor(options: { context: Context; socket: Duplex; codec: Codec; owner: EgressOwner }) {
    const { context, socket, codec, owner } = options
    this.#context = context
    this.#owner = owner
    this.#codec = codec
    this.#aside = new Aside(context.settings.outboxBytes)
    this.#outbox = new Outbox({
      socket,
      flusher: context.flusher,
      limit: { bytes: context.settings.outboxBytes * growth[codec], frames: context.settings.outboxFrames },
      owner: this,
    })
  }

  /** The session's. */
  get id(): string {
    return this.#owner.id
  }

  get channels(): readonly string[] {
    return this.#owner.channels
  }

  /** Whether the session takes less than it is sent. */
  get isSlow(): boolean {
    return this.#outbox.slow
  }

  /** Since when it has refused frames, monotonic ms; undefined: it takes them. */
  get refusesSince(): number | undefined {
    return this.#refusesSince
  }

  /** Sends a control frame, whatever the state of the outbox. */
  send(frame: HubFrame): void {
    if (this.#closed) return
    this.#context.metrics.sent(frame.type)
    this.#outbox.push(this.#encode(frame))
  }

  /** Sends a frame, or refuses it because the session is too slow for now. */
  offer(frame: HubFrame): boolean {
    if (this.#closed) return true
    const taken = this.#outbox.offer(this.#encode(frame), 1)
    if (taken) this.#context.metrics.sent(frame.type)
    else this.#refuses()
    return taken
  }

  /** Sends a frame as soon as the session takes it; resolves then, or when it has ended. */
  async sendPatiently(frame: HubFrame): Promise<void> {
    while (!this.offer(frame)) await this.#hasRoom()
  }

  deliver(run: WireRun, range: Range): void {
    if (this.#closed) return
    if (this.#aside) this.#keep(range, run, () => this.replay(run))
    else if (!this.#outbox.offer(run.wire(this.#codec), run.frames)) {
      this.#refuses()
      this.#dropped(range)
    }
  }

  ask(frame: WireFrame, range: Range): void {
    if (this.#closed) return
    if (this.#aside) {
      this.#keep(range, frame, () => this.replayRequest(frame))
      return
    }
    this.unanswered.add(frame.frame as MessageFrame, performance.now())
    this.deliver(frame, range)
  }

  /** Which of the answers count is for the collection to say. */
  answer(words: WireRun): void {
    if (this.#closed) return
    if (!this.#aside) this.#context.requests.arrive(this.id, words)
    else
      for (const bytes of framesOf(words.binary)) {
        const frame = new WireFrame(bytes)
        this.#keep(this.#rangeOf(frame), frame, () => this.#collect(frame))
      }
  }

  gap(range: Range): void {
    if (!this.#aside) this.send({ type: 'gap', ...range })
    else this.#aside.keep({ range, bytes: gapBytes, give: () => void this.send({ type: 'gap', ...range }) })
  }

  counts(words: WireRun, range: Range): void {
    if (this.#aside) this.#given = this.replay(words)
    else this.deliver(words, range)
  }

  settled(request: number, tally: Record<string, number>): void {
    const tell = () => this.send({ type: 'settled', request, tally })
    if (this.#given) this.#given.then(tell)
    else tell()
  }

  /** Gives it frames as soon as it takes them; resolves then, or when it has ended. */
  async replay(run: WireRun): Promise<void> {
    while (!this.#closed && !this.#outbox.offer(run.wire(this.#codec), run.frames)) {
      this.#refuses()
      await this.#hasRoom()
    }
  }

  /** The same for a request. */
  replayRequest(frame: WireFrame): Promise<void> {
    this.unanswered.add(frame.frame as MessageFrame, performance.now())
    return this.replay(frame)
  }

  /** Gives it what came meanwhile, but for what it has already; from then on it is given what comes, as it comes. */
  async begin(missed: (dropped: Range[]) => Promise<void> | void, isNew: (range: Range) => boolean): Promise<void> {
    for (const aside = this.#aside; aside && !this.#closed; ) {
      const dropped = aside.takeDropped()
      if (dropped.length > 0) await missed(dropped)
      else {
        const kept = aside.shift()
        if (!kept) break
        if (isNew(kept.range)) await kept.give()
      }
    }
    this.#aside = undefined
    this.#given = undefined
  }

  /** What came until now is for another session: it is not given. */
  forget(): void {
    this.#aside = new Aside(this.#context.settings.outboxBytes)
  }

  /** So much came meanwhile that it cannot be given. */
  tellDropped(ranges: Range[]): void {
    for (const range of ranges) this.#dropped(range)
    if (!this.#outbox.full) this.#tellMissed()
  }

  /** Writes what waits, without waiting for the end of the tick. */
  flush(): void {
    this.#outbox.flush()
  }

  /** Takes nothing any more. */
  close(): void {
    this.#closed = true
    this.#makeRoom()
    if (this.#outbox.slow) this.#endSlowness()
  }

  writes(): void {
    this.#owner.writes()
  }

  slow(): void {
    if (this.#closed) return
    const { log, metrics, restraint } = this.#context
    metrics.slowSessions.inc()
    metrics.slowTotal.inc()
    restraint.rise(this)
    const now = performance.now()
    if (now - this.#warned < warnEveryMs) return
    this.#warned = now
    const { pending, pendingFrames } = this.#outbox
    log.warn(
      { session: this.id, channels: this.channels, bytes: pending, frames: pendingFrames },
      'a session takes less than it is sent',
    )
  }

  caughtUp(): void {
    if (!this.#closed) this.#endSlowness()
  }

  drained(): void {
    if (this.#closed) return
    this.#refusesSince = undefined
    this.#tellMissed()
    this.#owner.drained()
    this.#makeRoom()
  }

  overflow(): void {
    this.#owner.overflow()
  }

  /** A word that was kept aside; what follows from it is given before anything else. */
  async #collect(frame: WireFrame): Promise<void> {
    this.#context.requests.arrive(this.id, frame)
    await this.#given
  }

  #rangeOf({ frame: { origin, seq } }: WireFrame): Range {
    return { origin, to: `session/${this.id}`, from: seq, until: seq }
  }

  #keep(range: Range, { binary }: WireRun, give: () => Promise<void>): void {
    this.#aside?.keep({ range, bytes: binary.length, give })
  }

  #dropped(range: Range): void {
    this.#context.metrics.dropped.inc(range.until - range.from + 1)
    this.#missed.add(range)
  }

  #tellMissed(): void {
    for (const gap of this.#missed.take()) {
      this.#context.metrics.gaps.inc({ where: 'outbox' })
      this.send({ type: 'gap', ...gap })
    }
  }

  #refuses(): void {
    this.#refusesSince ??= performance.now()
  }

  #endSlowness(): void {
    this.#context.metrics.slowSessions.dec()
    this.#context.restraint.fall(this)
  }

  #hasRoom(): Promise<void> {
    this.#room ??= Promise.withResolvers()
    return this.#room.promise
  }

  #makeRoom(): void {
    this.#room?.resolve()
    this.#room = undefined
  }

  #encode(frame: HubFrame): Buffer {
    return this.#codec === 'json' ? textFrame(frame) : binaryFrame(frame)
  }
}
