import { Backoff } from '../backoff.ts'
import type { LavalinkAdapter } from './adapter.ts'
import { type KnownNode, treatments } from './known-nodes.ts'

/** A node that was added to the library, under a name of its own. */
export interface Member {
  id: string
  name: string
  connected: boolean
  /** Its record went, is draining, or tells another address or password: it goes when its last player has left. */
  leaving: boolean
  /** What it was added by: another address or password is another incarnation. */
  access: string
  /** Since when it is not connected, monotonic ms. */
  waitingSince: number
}

/** How long a connection may take before another is tried, ms. */
const connectMs = 10_000
/** Slow enough that NodeLink, which bans after five wrong passwords a minute, does not. */
const patience = { baseMs: 1_000, maxMs: 30_000 }

/** Keeps the nodes of the library equal to those that are known; what it did not add, it leaves alone. */
export class Roster {
  readonly #adapter: LavalinkAdapter
  readonly #report: (error: unknown) => void
  readonly #members = new Map<string, Member>()
  /** All names ever given that somebody may still use, with the id of the node. */
  readonly #named = new Map<string, string>()
  readonly #attempts = new Map<string, { count: number; backoff: Backoff; notBefore: number }>()
  #incarnations = 0

  constructor(adapter: LavalinkAdapter, report: (error: unknown) => void) {
    this.#adapter = adapter
    this.#report = report
  }

  get members(): ReadonlyMap<string, Member> {
    return this.#members
  }

  /** The node behind a name of the library, also one that was removed; undefined for what somebody else added. */
  idOf(name: string): string | undefined {
    return this.#named.get(name)
  }

  /** The member that stands for a node now. */
  memberOf(id: string): Member | undefined {
    return [...this.#members.values()].find((member) => member.id === id && !member.leaving)
  }

  /** Adds what is missing, removes what is too much or of no use any more. `occupied` are the nodes that players name. */
  reconcile(known: readonly KnownNode[], occupied: ReadonlySet<string>, now: number): void {
    const nodes = new Map(known.map((node) => [node.id, node]))
    const library = new Map(this.#adapter.nodes().map(({ name, state }) => [name, state]))
    for (const member of [...this.#members.values()])
      this.#check(member, nodes.get(member.id), library.get(member.name), occupied, now)
    for (const node of known) {
      if (treatments[node.record.state].connect && !this.memberOf(node.id)) this.#add(node, now)
    }
    for (const name of [...this.#named.keys()])
      if (!this.#members.has(name) && !occupied.has(name)) this.#named.delete(name)
    for (const id of [...this.#attempts.keys()]) if (!nodes.has(id)) this.#attempts.delete(id)
  }

  #check(
    member: Member,
    node: KnownNode | undefined,
    state: 'connecting' | 'connected' | 'failed' | undefined,
    occupied: ReadonlySet<string>,
    now: number,
  ): void {
    const { id, name } = member
    if (member.connected && state !== 'connected') member.waitingSince = now
    member.connected = state === 'connected'
    member.leaving = !node || treatments[node.record.state].leave || accessOf(node) !== member.access
    const hopeless =
      state === 'failed' || state === undefined || (!member.connected && now - member.waitingSince >= connectMs)
    if (member.connected) this.#attempts.delete(id)
    if (!hopeless && (!member.leaving || occupied.has(name))) return
    this.#members.delete(name)
    this.#attempt(() => this.#adapter.remove(name))
  }

  #add(node: KnownNode, now: number): void {
    const { id, record, password } = node
    const attempts = this.#attempts.get(id) ?? { count: 0, backoff: new Backoff(patience, Math.random), notBefore: 0 }
    this.#attempts.set(id, attempts)
    if (now < attempts.notBefore) return
    const addresses = [record.address, ...(record.otherAddresses ?? [])]
    const address = addresses[attempts.count % addresses.length] ?? record.address
    const name = `${id}~${++this.#incarnations}`
    this.#attempt(() => this.#adapter.add({ name, ...address, password }))
    attempts.count++
    // The next attempt, should this one fail.
    attempts.notBefore = now + attempts.backoff.next()
    if (!this.#adapter.nodes().some((added) => added.name === name)) return
    this.#named.set(name, id)
    const member = { id, name, connected: false, leaving: false, access: accessOf(node), waitingSince: now }
    this.#members.set(name, member)
  }

  #attempt(act: () => void): void {
    try {
      act()
    } catch (error) {
      this.#report(error)
    }
  }
}

function accessOf({ record: { address, otherAddresses = [] }, password }: KnownNode): string {
  const places = [address, ...otherAddresses].map(({ host, port, secure }) => [host, port, secure])
  return JSON.stringify([places, password])
}
