import { DamonError } from '@damon/protocol/errors'

/**
 * What the sender was told of a message: `safe` is acknowledged; `perhaps` it was not (`unavailable`, `unknown_outcome`), so it
 * may have arrived; `never` is one that did not leave; `open` until anything was told.
 */
export type Outcome = 'open' | 'safe' | 'perhaps' | 'never'

/** What an error says about the message that it is about. */
export function outcomeOf(error: unknown): Exclude<Outcome, 'open'> {
  const code = error instanceof DamonError ? error.code : ''
  return code === 'unavailable' || code === 'unknown_outcome' ? 'perhaps' : 'never'
}

/** One message in its sender's ledger. Times are monotonic ms. */
export interface Sent {
  /** Counts from 1 in its stream, without a hole. */
  n: number
  at: number
  outcome: Outcome
}

/** One message in a receiver's ledger. */
export interface Received {
  n: number
  at: number
  /** It said that it comes after later ones. */
  late?: boolean
}

/** A receiver was told that at most `count` messages to this destination are missing. */
export interface ToldGap {
  destination: string
  count: number
  at: number
}

/** A receiver was told that its session does not go on: what came while it was away is lost to it. */
export interface ToldReset {
  from: number
  until: number
}

/** All messages of one sender to one destination, which arrive in order. */
export function streamOf(sender: string, destination: string): string {
  return `${sender} > ${destination}`
}

/** Where something was sent: an address, or one member of a group. */
export function destinationOf(address: string, any: boolean): string {
  return any ? `any ${address}` : address
}

/** The inbox of one session among several, whoever sends to it. */
export const ownInbox = 'session'

/** What one client knows: what it sent, what it got, what it was told to be missing. */
export class Ledger {
  readonly name: string
  readonly sent = new Map<string, Sent[]>()
  readonly received = new Map<string, Received[]>()
  readonly gaps: ToldGap[] = []
  readonly resets: ToldReset[] = []
  readonly #numbers = new Map<string, number>()

  constructor(name: string) {
    this.name = name
  }

  /** Enters a message on its way; what becomes of it is written into the entry. */
  send(destination: string, at: number): Sent {
    const stream = streamOf(this.name, destination)
    const n = (this.#numbers.get(stream) ?? 0) + 1
    this.#numbers.set(stream, n)
    const entry: Sent = { n, at, outcome: 'open' }
    push(this.sent, destination, entry)
    return entry
  }

  receive(sender: string, destination: string, n: number, at: number, late = false): void {
    push(this.received, streamOf(sender, destination), { n, at, late })
  }

  /** A new page: numbers go on, so that what is late or comes again is known for what it is. */
  turn(): void {
    this.sent.clear()
    this.received.clear()
    this.gaps.length = 0
    this.resets.length = 0
  }
}

function push<T>(lists: Map<string, T[]>, key: string, value: T): void {
  const list = lists.get(key)
  if (list) list.push(value)
  else lists.set(key, [value])
}
