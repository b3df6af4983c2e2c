import { type Ledger, ownInbox, type Received, type Sent, streamOf } from './ledger.ts'

/** What the ledgers of all clients say together. Every string names stream, number and receiver. */
export interface Comparison {
  /** Sent, whatever became of them. */
  messages: number
  /** Of these, acknowledged. */
  safe: number
  /** Received, over all receivers. */
  delivered: number
  /** Acknowledged and not received, and the receiver was told so. */
  toldLost: number
  /** Not received although acknowledged, and nobody was told. */
  unexplained: string[]
  duplicates: string[]
  disordered: string[]
  /** Acknowledged, and came after a later one of its stream, but said so. */
  late: string[]
  /** Received although it never left, or was never sent. */
  impossible: string[]
}

/** A word about a loss may come this much before or after the messages around it, ms: it has its own way. */
const slackMs = 2_000

/** Compares what was sent with what was received. `members` says who a destination is, by name. */
export function compare(ledgers: readonly Ledger[], members: (destination: string) => readonly string[]): Comparison {
  const found: Comparison = {
    messages: 0,
    safe: 0,
    delivered: 0,
    toldLost: 0,
    unexplained: [],
    duplicates: [],
    disordered: [],
    late: [],
    impossible: [],
  }
  const byName = new Map(ledgers.map((ledger) => [ledger.name, ledger]))
  const accounts = new Map(ledgers.map((ledger) => [ledger.name, new Account(ledger)]))
  const known = new Set<string>()
  for (const sender of ledgers) {
    for (const [destination, sent] of sender.sent) {
      const stream = streamOf(sender.name, destination)
      known.add(stream)
      found.messages += sent.length
      found.safe += sent.filter(({ outcome }) => outcome === 'safe').length
      const receivers = members(destination).flatMap((name) => byName.get(name) ?? [])
      const byNumber = new Map(sent.map((entry) => [entry.n, entry]))
      for (const receiver of receivers) checkReceived(found, receiver, stream, byNumber)
      if (destination.startsWith('any ')) checkAny(found, accounts, stream, sent, receivers)
      else for (const receiver of receivers) checkComplete(accounts, stream, sent, receiver, destination)
    }
  }
  for (const account of accounts.values()) {
    const { toldLost, unexplained } = account.settle()
    found.toldLost += toldLost
    found.unexplained.push(...unexplained)
  }
  for (const receiver of ledgers) {
    for (const [stream, received] of receiver.received) {
      found.delivered += received.length
      if (known.has(stream)) continue
      for (const { n } of received) found.impossible.push(`${stream} ${n} at ${receiver.name}: nobody sent it now`)
    }
  }
  return found
}

/** Whether nothing was found that must not be. */
export function isClean({ unexplained, duplicates, disordered, impossible }: Comparison): boolean {
  return unexplained.length + duplicates.length + disordered.length + impossible.length === 0
}

/** Each message at most once, in the order in which it was sent, and only if it was. */
function checkReceived(found: Comparison, receiver: Ledger, stream: string, sent: Map<number, Sent>): void {
  const seen = new Set<number>()
  let last = 0
  for (const { n, late } of receiver.received.get(stream) ?? []) {
    const what = `${stream} ${n} at ${receiver.name}`
    const outcome = sent.get(n)?.outcome
    if (seen.has(n)) found.duplicates.push(what)
    else if (outcome === undefined) found.impossible.push(`${what}: not of this time`)
    else if (outcome === 'never') found.impossible.push(`${what}: its sender was told that it did not leave`)
    else if (n < last && !late) found.disordered.push(`${what} came after ${last}`)
    else if (n < last && outcome === 'safe') found.late.push(`${what} came after ${last}`)
    seen.add(n)
    last = Math.max(last, n)
  }
}

/** Whatever is safe was received, or its loss was told between the messages around it. */
function checkComplete(
  accounts: Map<string, Account>,
  stream: string,
  sent: readonly Sent[],
  receiver: Ledger,
  destination: string,
): void {
  const received = new Map((receiver.received.get(stream) ?? []).map((entry) => [entry.n, entry]))
  const around = surroundings(sent, received)
  for (const entry of sent) {
    if (entry.outcome !== 'safe' || received.has(entry.n)) continue
    const { after, before } = around(entry)
    const [sentAt, from, until] = [entry.at, after, before].map((at) => Math.round(at))
    const what = `${stream} ${entry.n} at ${receiver.name}, sent at ${sentAt}, between ${from} and ${until}`
    accounts.get(receiver.name)?.misses({ what, destination, after: Math.max(after, entry.at), before })
  }
}

/** One of the members has each, never two. */
function checkAny(
  found: Comparison,
  accounts: Map<string, Account>,
  stream: string,
  sent: readonly Sent[],
  receivers: readonly Ledger[],
): void {
  const takers = new Map<number, number>()
  for (const receiver of receivers)
    for (const n of new Set((receiver.received.get(stream) ?? []).map((entry) => entry.n)))
      takers.set(n, (takers.get(n) ?? 0) + 1)
  for (const { n, at, outcome } of sent) {
    const count = takers.get(n) ?? 0
    if (count > 1) found.duplicates.push(`${stream} ${n} at ${count} members`)
    if (count > 0 || outcome !== 'safe') continue
    const told = receivers.some(({ name }) => accounts.get(name)?.explains(ownInbox, at))
    if (told) found.toldLost++
    else found.unexplained.push(`${stream} ${n} at no member, sent at ${Math.round(at)}`)
  }
}

/** When the messages before and after one were received, where they were. `sent` is in order. */
function surroundings(sent: readonly Sent[], received: Map<number, Received>) {
  const first = sent[0]?.n ?? 1
  const nextAt: number[] = new Array(sent.length)
  let next = Number.POSITIVE_INFINITY
  for (let i = sent.length - 1; i >= 0; i--) {
    nextAt[i] = next
    next = received.get(sent[i]!.n)?.at ?? next
  }
  let at = 0
  let previous = Number.NEGATIVE_INFINITY
  return ({ n }: Sent): { after: number; before: number } => {
    for (; at < n - first; at++) previous = received.get(sent[at]!.n)?.at ?? previous
    return { after: previous, before: nextAt[n - first] ?? Number.POSITIVE_INFINITY }
  }
}

/** Something that a receiver has not got, and the times between which it should have. */
interface Miss {
  what: string
  destination: string
  after: number
  before: number
}

/** What one receiver has not got, and what it was told of that; a gap of so many explains so many, and no more. */
class Account {
  readonly #ledger: Ledger
  readonly #misses: Miss[] = []

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  misses(miss: Miss): void {
    this.#misses.push(miss)
  }

  /** Whether a word was told after this time that may be about a message to this destination. */
  explains(destination: string, after: number): boolean {
    const { gaps, resets } = this.#ledger
    if (resets.some(({ until }) => until >= after - slackMs)) return true
    return gaps.some((gap) => gap.destination === destination && gap.at >= after - slackMs)
  }

  /** Gives every word as many misses as it can be about, those first that no later word can be about. */
  settle(): { toldLost: number; unexplained: string[] } {
    const { gaps, resets } = this.#ledger
    const isReset = ({ after, before }: Miss) =>
      resets.some(({ from, until }) => until >= after - slackMs && from <= before + slackMs)
    let left = this.#misses.filter((miss) => !isReset(miss)).sort((a, b) => a.before - b.before)
    for (const { destination, count, at } of [...gaps].sort((a, b) => a.at - b.at)) {
      let room = count
      left = left.filter((miss) => {
        const about = miss.destination === destination && at >= miss.after - slackMs && at <= miss.before + slackMs
        return !(about && room-- > 0)
      })
    }
    return { toldLost: this.#misses.length - left.length, unexplained: left.map(({ what }) => what) }
  }
}
