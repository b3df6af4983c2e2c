import type { Verdict } from '@damon/protocol/frames'
import type { Member, Range } from './bus.ts'
import { EncodedFrame } from './message.ts'
import type { Metrics } from './metrics.ts'
import { type Publisher, SendOrder } from './publisher.ts'
import type { Settlements } from './settlements.ts'
import type { OpenRequest } from './store.ts'
import { WireRun } from './wire-run.ts'
import { readWord, type Word } from './word.ts'
import { framesOf, payloadAt } from './ws-frame.ts'

/** How long after the deadline the hub waits for its own verdicts to come back through the log, ms. */
const lastWordMs = 2_000

/** The session that asked. */
export interface Requester {
  readonly id: string
  /** Takes verdicts and parts that count. */
  counts(words: WireRun, range: Range): void
  settled(request: number, tally: Record<string, number>): void
}

/** Gives a request that one member is to answer to another one. */
export interface Another {
  /** A member that is none of these, if there is one. */
  pick(except: string[]): Promise<Member | undefined>
  /** Resolves when the request is on its way to it. */
  ask(member: Member): Promise<void>
}

/** How answers are collected. */
export interface Collecting {
  /** The requester's number of the request. */
  number: number
  /** Where it goes. */
  channel: string
  deadlineMs: number
  quorum: number
  /** The member that was picked for it, where it is for one. */
  picked?: string | undefined
  another?: Another | undefined
}

interface Open {
  requester: Requester
  number: number
  /** Where it went. */
  channel: string
  quorum: number
  /** The members that were picked for it; undefined where it goes to all of the channel. */
  picked: string[] | undefined
  another: Another | undefined
  /** How many others are being looked for. */
  seeking: number
  answered: number
  /** Its receivers were told that no more answers are needed. */
  released: boolean
  /** Its deadline is over. */
  late: boolean
  /** Receivers without a verdict, once frozen; before that undefined. */
  open: Map<string, Member> | undefined
  /** What this hub said of a receiver, while it is on its way through the log. */
  said: Map<string, WireRun> | undefined
  /** What came before the receivers were known. */
  early: { answers: WireRun[]; gone: string[] } | undefined
  tally: Record<string, number>
  deadlineMs: number
  timer: NodeJS.Timeout | undefined
}

/**
 * Collects the verdicts of the requests that this worker's sessions made. Every verdict, the hub's own too, comes from
 * the requester's channel, in the order of the log: the first on a receiver counts. The word of a receiver on this worker may be ahead of
 * the log: what else is said of that receiver is said here, and later.
 */
export class Requests {
  readonly #publisher: Pick<Publisher, 'publish'>
  readonly #metrics: Metrics
  /** Per requester's session, by number. */
  readonly #open = new Map<string, Map<number, Open>>()
  readonly #unfrozen = new Set<Open>()
  /** Per receiver's session, the requests that wait for it: often none, since who is asked once is asked again, until somebody looks. */
  readonly #waiting = new Map<string, Set<Open>>()
  readonly #settlements: Pick<Settlements, 'add'>
  #size = 0

  constructor(options: {
    publisher: Pick<Publisher, 'publish'>
    settlements: Pick<Settlements, 'add'>
    metrics: Metrics
  }) {
    this.#publisher = options.publisher
    this.#settlements = options.settlements
    this.#metrics = options.metrics
  }

  /** Begins a collection, before the request is on the bus: replies may overtake the answer of the bus. */
  begin(requester: Requester, { number, channel, deadlineMs, quorum, picked, another }: Collecting): void {
    const request: Open = {
      requester,
      number,
      channel,
      quorum,
      picked: picked === undefined ? undefined : [picked],
      another,
      seeking: 0,
      answered: 0,
      released: false,
      late: false,
      open: undefined,
      said: undefined,
      early: undefined,
      tally: {},
      deadlineMs,
      timer: undefined,
    }
    const own = this.#open.get(requester.id) ?? new Map<number, Open>()
    this.#open.set(requester.id, own.set(number, request))
    this.#unfrozen.add(request)
    this.#count(1)
  }

  /** The request is not on the bus, as far as anybody knows. */
  abandon(session: string, number: number): void {
    const request = this.#find(session, number)
    if (request) this.#settle(request)
  }

  /** The receivers are known: from now on the request can settle. */
  freeze(session: string, number: number, members: Member[]): void {
    const request = this.#find(session, number)
    if (!request) return
    this.#unfrozen.delete(request)
    request.open = new Map()
    for (const member of members) this.#await(request, member)
    request.timer = setTimeout(() => this.#timeOut(request), request.deadlineMs)
    const { answers = [], gone = [] } = request.early ?? {}
    request.early = undefined
    for (const answer of answers) this.arrive(session, answer)
    for (const session of gone) this.#lose(request, session)
    this.#settleIfDone(request)
  }

  /**
   * Goes on with a collection that another worker began, where its requester goes on. `words` are those that the log has on
   * it, which the requester gets, or has, from there; unless they are `complete`, what is not among them is unknown.
   */
  restore(requester: Requester, asked: OpenRequest, words: Word[], complete: boolean): void {
    const { number, channel, quorum, leftMs, receivers } = asked
    this.begin(requester, { number, channel, quorum, deadlineMs: Math.max(0, leftMs) })
    const request = this.#find(requester.id, number)
    if (!request) return
    if (channel.startsWith('session/')) request.picked = receivers.map(({ session }) => session)
    this.#unfrozen.delete(request)
    request.open = new Map()
    for (const member of receivers) this.#await(request, member)
    for (const { session, verdict } of words) if (verdict) this.#account(request, session, verdict)
    request.timer = setTimeout(() => this.#timeOut(request), request.deadlineMs)
    if (!complete) this.#sayOnAll(request, 'unknown')
    else if (quorum > 0 && request.answered >= quorum) this.#release(request)
    this.#settleIfDone(request)
  }

  /** Verdicts and parts came on the channel of a requester's session; those that count are passed on, as many at a time as follow one another. */
  arrive(session: string, run: WireRun): void {
    const passing = new Passing(run)
    let end = 0
    try {
      for (const frame of framesOf(run.binary)) {
        const at = end
        end += frame.length
        const word = readWord(frame, payloadAt(frame))
        if (!word) {
          this.#metrics.garbled.inc()
          continue
        }
        const request = this.#find(session, word.request)
        if (request && !request.open) earlyOf(request).answers.push(new WireRun(frame))
        else if (!request?.open?.has(word.session)) this.#metrics.lateReplies.inc()
        else {
          passing.add(request.requester, word, at, end)
          if (!word.verdict) continue
          this.#account(request, word.session, word.verdict)
          this.#metrics.verdict(word.verdict)
          if (request.quorum > 0 && request.answered === request.quorum) this.#release(request)
          if (request.open.size > 0) continue
          passing.pass()
          this.#settleIfDone(request)
        }
      }
    } finally {
      passing.pass()
    }
  }

  /** Sessions that ended: they cannot answer any more. */
  gone(sessions: string[]): void {
    for (const request of this.#unfrozen) earlyOf(request).gone.push(...sessions)
    for (const session of sessions) for (const request of this.#waiting.get(session) ?? []) this.#lose(request, session)
  }

  /** Sessions that some request waits for. */
  awaited(): string[] {
    for (const [session, waiting] of this.#waiting) if (waiting.size === 0) this.#waiting.delete(session)
    return [...this.#waiting.keys()]
  }

  cancel(session: string, number: number): void {
    const request = this.#find(session, number)
    if (request?.open) this.#release(request)
  }

  /** How many requests are open. */
  get size(): number {
    return this.#size
  }

  /** How many requests of a session are open. */
  count(session: string): number {
    return this.#open.get(session)?.size ?? 0
  }

  /** The numbers of a session's open requests. */
  numbers(session: string): number[] {
    return [...(this.#open.get(session)?.keys() ?? [])]
  }

  /** The requester is gone: nobody wants the answers. */
  endSession(session: string): void {
    for (const request of [...(this.#open.get(session)?.values() ?? [])]) this.#close(request)
  }

  #find(session: string, number: number): Open | undefined {
    return this.#open.get(session)?.get(number)
  }

  /** The first word on a receiver. */
  #account(request: Open, session: string, verdict: Verdict): void {
    if (!request.open?.delete(session)) return
    request.said?.delete(session)
    this.#unawait(request, session)
    request.tally[verdict] = (request.tally[verdict] ?? 0) + 1
    if (verdict === 'answered') request.answered++
  }

  #lose(request: Open, session: string): void {
    const member = request.open?.get(session)
    if (!member || request.said?.has(session)) return
    this.#say(request, member, 'disconnected')
    if (request.another && !request.released && !request.late) void this.#askAnother(request, request.another)
  }

  /** Another member is asked beside the one that is gone, which has its verdict. */
  async #askAnother(request: Open, another: Another): Promise<void> {
    const picked = request.picked ?? []
    request.seeking++
    const member = await another.pick(picked).catch(() => undefined)
    request.seeking--
    if (this.#find(request.requester.id, request.number) !== request) return
    if (member) picked.push(member.session)
    if (member && !request.released && !request.late) {
      // Its answer may be here before it is known that the request is on its way.
      this.#await(request, member)
      another.ask(member).catch(() => this.#say(request, member, 'unknown'))
    }
    this.#settleIfDone(request)
  }

  #timeOut(request: Open): void {
    request.late = true
    this.#sayOnAll(request, 'timed_out')
    // What the log has but the bus lost would leave the request open for ever.
    request.timer = setTimeout(() => {
      for (const said of [...(request.said?.values() ?? [])]) this.arrive(request.requester.id, said)
    }, lastWordMs)
  }

  /** No more answers are needed: the requester is told of each receiver, and they of it, so that they may stop. */
  #release(request: Open): void {
    if (!request.open?.size || request.released) return
    request.released = true
    this.#sayOnAll(request, 'not_needed')
    const { number, requester } = request
    const channels = request.picked
      ? [...request.open.keys()].map((session) => `session/${session}`)
      : [request.channel]
    for (const channel of channels) {
      const cancel = { type: 'cancel', origin: 0, seq: 0, to: channel, session: requester.id, request: number } as const
      const frame = new EncodedFrame(cancel)
      this.#publisher.publish({ channel, kind: 'message', frame, order: new SendOrder(), number: 0 })
    }
  }

  #sayOnAll(request: Open, verdict: Verdict): void {
    for (const member of request.open?.values() ?? []) this.#say(request, member, verdict)
  }

  #say(request: Open, member: Member, verdict: Verdict): void {
    if (!request.open?.has(member.session) || request.said?.has(member.session)) return
    const frame = new EncodedFrame({
      type: 'verdict',
      again: false,
      bytes: false,
      late: false,
      origin: 0,
      seq: 0,
      number: 0,
      request: request.number,
      session: member.session,
      from: member.subject,
      verdict,
      code: '',
      payload: new Uint8Array(),
    })
    const channel = `session/${request.requester.id}`
    // Another worker's receiver may have answered: which word came first is for the log to say.
    this.#publisher.publish({ channel, kind: 'answer', around: true, frame, order: new SendOrder(), number: 0 })
    request.said ??= new Map()
    request.said.set(member.session, new WireRun(frame.bytes))
  }

  #settleIfDone(request: Open): void {
    if (request.open?.size !== 0 || request.seeking > 0 || this.#find(request.requester.id, request.number) !== request)
      return
    this.#settle(request)
    request.requester.settled(request.number, request.tally)
  }

  /** It need not be remembered any more. */
  #settle(request: Open): void {
    const { requester, number, picked = [] } = request
    this.#close(request)
    this.#settlements.add({ session: requester.id, number, picked })
  }

  #close(request: Open): void {
    clearTimeout(request.timer)
    this.#unfrozen.delete(request)
    for (const session of request.open?.keys() ?? []) this.#unawait(request, session)
    const own = this.#open.get(request.requester.id)
    own?.delete(request.number)
    if (own?.size === 0) this.#open.delete(request.requester.id)
    this.#count(-1)
  }

  #await(request: Open, member: Member): void {
    request.open?.set(member.session, member)
    const waiting = this.#waiting.get(member.session)
    if (waiting) waiting.add(request)
    else this.#waiting.set(member.session, new Set([request]))
  }

  #unawait(request: Open, session: string): void {
    this.#waiting.get(session)?.delete(request)
  }

  #count(by: 1 | -1): void {
    this.#size += by
    this.#metrics.openRequests.set(this.#size)
  }
}

function earlyOf(request: Open): NonNullable<Open['early']> {
  request.early ??= { answers: [], gone: [] }
  return request.early
}

/** The words of a run that count and that nobody was given yet, one behind another. */
class Passing {
  readonly #run: WireRun
  #to: Requester | undefined
  #range: Range | undefined
  #from = 0
  #until = 0

  constructor(run: WireRun) {
    this.#run = run
  }

  add(to: Requester, { origin, seq }: Word, from: number, until: number): void {
    if (this.#until !== from) this.pass()
    if (this.#range) this.#range.until = seq
    else {
      this.#to = to
      this.#range = { origin, to: `session/${to.id}`, from: seq, until: seq }
      this.#from = from
    }
    this.#until = until
  }

  pass(): void {
    if (!this.#to || !this.#range) return
    const { binary } = this.#run
    const all = this.#from === 0 && this.#until === binary.length
    this.#to.counts(all ? this.#run : new WireRun(binary.subarray(this.#from, this.#until)), this.#range)
    this.#range = undefined
  }
}
