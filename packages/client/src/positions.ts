import type { Position } from '@damon/protocol/frames'

/** Senders remembered per destination, for rule 6 of resume; the longest silent one is forgotten first. */
const sendersPerDestination = 4096

/** Senders of which it is remembered how far they are, over all destinations; the one known longest is forgotten first. */
const sendersInAll = 4096

/**
 * Where this client stands: the last frame seen per origin and destination, and the highest send number seen per
 * sender's session and destination. Only what is new passes.
 */
export class Positions {
  readonly #byDestination = new Map<string, Map<number, number>>()
  readonly #senders = new Map<string, Map<string, number>>()
  readonly #latest = new Map<string, number>()

  /** A session that is not a continuation starts here; numbers of earlier origins mean nothing to it. */
  reset(base: readonly Position[]): void {
    this.#byDestination.clear()
    this.raise(base)
  }

  /** A session goes on: it knows its own positions better, and those that are not among these nobody needs any more. */
  keep(base: readonly Position[]): void {
    const known = new Map(this.#byDestination)
    this.#byDestination.clear()
    for (const { origin, to, seq } of base) this.pass(origin, to, Math.max(seq, known.get(to)?.get(origin) ?? 0))
  }

  /** Nothing up to these positions is expected any more. */
  raise(base: readonly Position[]): void {
    for (const { origin, to, seq } of base) this.pass(origin, to, seq)
  }

  /** Whether a frame is new. It counts as seen from now on. */
  pass(origin: number, destination: string, seq: number): boolean {
    const seqs = at(this.#byDestination, destination)
    if (seq <= (seqs.get(origin) ?? -1)) return false
    seqs.set(origin, seq)
    return true
  }

  /** Whether a frame of a sender's session is new to this destination; asked for what passed by position. */
  passSender(session: string, destination: string, number: number, again: boolean): boolean {
    const numbers = at(this.#senders, destination)
    const seen = numbers.get(session) ?? 0
    if (again && number <= seen) return false
    numbers.delete(session)
    numbers.set(session, Math.max(seen, number))
    if (numbers.size > sendersPerDestination) numbers.delete(numbers.keys().next().value ?? '')
    return true
  }

  /** Whether nothing that the sender's session sent later was here before, wherever it went. It counts as seen from now on. */
  inTurn(session: string, number: number): boolean {
    if (number < (this.#latest.get(session) ?? 0)) return false
    this.#latest.set(session, number)
    if (this.#latest.size > sendersInAll) this.#latest.delete(this.#latest.keys().next().value ?? '')
    return true
  }

  /** After leaving a group. */
  forget(destination: string): void {
    this.#byDestination.delete(destination)
    this.#senders.delete(destination)
  }

  list(): Position[] {
    return [...this.#byDestination].flatMap(([to, seqs]) => [...seqs].map(([origin, seq]) => ({ origin, to, seq })))
  }
}

function at<K, V>(maps: Map<string, Map<K, V>>, key: string): Map<K, V> {
  const known = maps.get(key)
  if (known) return known
  const made = new Map<K, V>()
  maps.set(key, made)
  return made
}
