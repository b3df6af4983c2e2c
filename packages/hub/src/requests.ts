import type { Verdict, VerdictFrame } from '@damon/protocol/frames'
import type { BusError, Member } from './bus.ts'
import type { Encoded } from './encoded.ts'
import type { Metrics } from './metrics.ts'
import type { Publisher } from './publisher.ts'

/** The session that asked. */
export interface Requester {
  readonly id: string
  /** Takes a verdict or a part that counts. */
  answer(frame: Encoded): void
  settled(request: number, tally: Record<string, number>): void
}

interface Open {
  requester: Requester
  number: number
  quorum: number
  answered: number
  /** Receivers without a verdict, once frozen; before that undefined. */
  open: Map<string, Member> | undefined
  /** Receivers on which this hub said a verdict that is still on its way through the log. */
  said: Set<string>
  early: Encoded[]
  tally: Record<string, number>
  deadlineMs: number
  timer: NodeJS.Timeout | undefined
}

/**
 * Collects the verdicts of the requests that this worker's sessions made. Every verdict, the hub's own too, comes from
 * the requester's channel, in the order of the log: the first on a receiver counts.
 */
export class Requests {
  readonly #publisher: Publisher
  readonly #metrics: Metrics
  readonly #open = new Map<string, Open>()
  /** Per receiver's session, the requests that wait for it. */
  readonly #waiting = new Map<string, Set<Open>>()

  constructor(options: { publisher: Publisher; metrics: Metrics }) {
    this.#publisher = options.publisher
    this.#metrics = options.metrics
  }

  /** Begins a collection, before the request is on the bus: replies may overtake the answer of the bus. */
  begin(requester: Requester, number: number, deadlineMs: number, quorum: number): void {
    this.#open.set(name(requester.id, number), {
      requester,
      number,
      quorum,
      answered: 0,
      open: undefined,
      said: new Set(),
      early: [],
      tally: {},
      deadlineMs,
      timer: undefined,
    })
    this.#metrics.openRequests.set(this.#open.size)
  }

  /** The request was never on the bus. */
  abandon(session: string, number: number): void {
    const request = this.#open.get(name(session, number))
    if (request) this.#close(request)
  }

  /** The receivers are known: from now on the request can settle. */
  freeze(session: string, number: number, members: Member[]): void {
    const request = this.#open.get(name(session, number))
    if (!request) return
    request.open = new Map(members.map((member) => [member.session, member]))
    for (const { session } of members) {
      const waiting = this.#waiting.get(session) ?? new Set()
      this.#waiting.set(session, waiting.add(request))
    }
    request.timer = setTimeout(() => this.#sayOnAll(request, 'timed_out'), request.deadlineMs)
    const { early } = request
    request.early = []
    for (const verdict of early) this.#verdict(request, verdict)
    this.#settleIfDone(request)
  }

  /** A verdict or a part came on the channel of a requester's session; passes it on if it counts. */
  arrive(session: string, encoded: Encoded): void {
    const frame = encoded.frame
    if (frame.type !== 'verdict' && frame.type !== 'part') return
    const request = this.#open.get(name(session, frame.request))
    if (!request) this.#metrics.lateReplies.inc()
    else if (!request.open) request.early.push(encoded)
    else this.#verdict(request, encoded)
  }

  /** Sessions that ended: they cannot answer any more. */
  gone(sessions: Iterable<string>): void {
    for (const session of sessions)
      for (const request of this.#waiting.get(session) ?? []) {
        const member = request.open?.get(session)
        if (member) this.#say(request, member, 'disconnected')
      }
  }

  /** Sessions that some request waits for. */
  awaited(): string[] {
    return [...this.#waiting.keys()]
  }

  cancel(session: string, number: number): void {
    const request = this.#open.get(name(session, number))
    if (request?.open) this.#sayOnAll(request, 'not_needed')
  }

  /** How many requests are open. */
  get size(): number {
    return this.#open.size
  }

  /** How many requests of a session are open. */
  count(session: string): number {
    let count = 0
    for (const request of this.#open.values()) if (request.requester.id === session) count++
    return count
  }

  /** The requester is gone: nobody wants the answers. */
  endSession(session: string): void {
    for (const request of [...this.#open.values()]) if (request.requester.id === session) this.#close(request)
  }

  #verdict(request: Open, encoded: Encoded): void {
    const frame = encoded.frame as VerdictFrame
    const member = request.open?.get(frame.session)
    if (!member) {
      this.#metrics.lateReplies.inc()
      return
    }
    request.requester.answer(encoded)
    if (encoded.frame.type === 'part') return
    request.open?.delete(frame.session)
    this.#unawait(request, frame.session)
    request.tally[frame.verdict] = (request.tally[frame.verdict] ?? 0) + 1
    this.#metrics.verdicts.inc({ verdict: frame.verdict })
    if (frame.verdict === 'answered') request.answered++
    if (request.quorum > 0 && request.answered === request.quorum) this.#sayOnAll(request, 'not_needed')
    this.#settleIfDone(request)
  }

  #sayOnAll(request: Open, verdict: Verdict): void {
    for (const member of request.open?.values() ?? []) this.#say(request, member, verdict)
  }

  #say(request: Open, member: Member, verdict: Verdict): void {
    if (request.said.has(member.session)) return
    request.said.add(member.session)
    const arriveAnyway = (_: BusError, encoded: Encoded) => this.arrive(request.requester.id, encoded)
    const frame = (origin: number, seq: number): VerdictFrame => ({
      type: 'verdict',
      again: false,
      bytes: false,
      late: false,
      origin,
      seq,
      request: request.number,
      session: member.session,
      from: member.subject,
      verdict,
      code: '',
      payload: new Uint8Array(),
    })
    const channel = `session/${request.requester.id}`
    try {
      this.#publisher.publish({ channel, frame, fast: false, sender: channel }, arriveAnyway)
    } catch {
      // The bus is full: try again when the next reason comes, at the latest when the requester leaves.
      request.said.delete(member.session)
      request.timer?.refresh()
    }
  }

  #settleIfDone(request: Open): void {
    if (request.open?.size !== 0) return
    this.#close(request)
    request.requester.settled(request.number, request.tally)
  }

  #close(request: Open): void {
    clearTimeout(request.timer)
    for (const session of request.open?.keys() ?? []) this.#unawait(request, session)
    this.#open.delete(name(request.requester.id, request.number))
    this.#metrics.openRequests.set(this.#open.size)
  }

  #unawait(request: Open, session: string): void {
    const waiting = this.#waiting.get(session)
    waiting?.delete(request)
    if (waiting?.size === 0) this.#waiting.delete(session)
  }
}

function name(session: string, number: number): string {
  return `${session}/${number}`
}
