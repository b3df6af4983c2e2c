import type { Position } from '@damon/protocol/frames'
import type { Asked, Member } from '../bus.ts'
import { askedMs, type OpenRequest, type Picking, pickedAmong, type Settled } from '../store.ts'

interface Entry extends Omit<OpenRequest, 'leftMs'> {
  /** Its deadline, ms of the state's clock. */
  ends: number
}

/** The requests that are not settled, and who was picked for them. */
export class AskedRequests {
  /** Per requester's session, by number. */
  readonly #open = new Map<string, Map<number, Entry>>()
  /** Per member, the requests that it was picked for, and their deadlines. */
  readonly #picked = new Map<string, Map<string, number>>()

  add(
    { session, number, channel, quorum, deadlineMs, member }: Asked,
    receivers: Member[],
    heads: Position[],
    now: number,
  ): void {
    const own = this.#open.get(session) ?? new Map<number, Entry>()
    const before = own.get(number)
    if (before && member) before.receivers.push(member)
    if (before || receivers.length === 0) return
    this.#open.set(session, own.set(number, { number, channel, quorum, receivers, heads, ends: now + deadlineMs }))
  }

  of(session: string, now: number): OpenRequest[] {
    const entries = [...(this.#open.get(session)?.values() ?? [])].sort((a, b) => a.number - b.number)
    return entries.map(({ ends, ...entry }) => ({ ...entry, leftMs: ends - now }))
  }

  settle({ session, number, picked }: Settled): void {
    const own = this.#open.get(session)
    own?.delete(number)
    if (own?.size === 0) this.#open.delete(session)
    for (const member of picked) {
      const requests = this.#picked.get(member)
      requests?.delete(`${session}/${number}`)
      if (requests?.size === 0) this.#picked.delete(member)
    }
  }

  /** Of the members the one that is picked for the fewest; of those with as few, one by chance. */
  pick({ session, number, deadlineMs }: Picking, members: Member[], now: number): Member | undefined {
    let best: Member | undefined
    let fewest = Number.POSITIVE_INFINITY
    const from = Math.floor(Math.random() * members.length)
    for (let i = 0; i < Math.min(members.length, pickedAmong); i++) {
      const member = members[(from + i) % members.length] as Member
      const load = this.#load(member.session, now)
      if (load < fewest) [best, fewest] = [member, load]
    }
    if (!best) return undefined
    const requests = this.#picked.get(best.session) ?? new Map<string, number>()
    this.#picked.set(best.session, requests.set(`${session}/${number}`, now + deadlineMs))
    return best
  }

  /** The session is over: nobody wants its answers, and it answers nothing. */
  end(session: string): void {
    this.#open.delete(session)
    this.#picked.delete(session)
  }

  /** Forgets what nobody came back for. */
  sweep(now: number): void {
    for (const [session, own] of this.#open)
      for (const { number, ends } of own.values())
        if (ends + askedMs <= now) this.settle({ session, number, picked: [] })
    for (const member of this.#picked.keys()) this.#load(member, now)
  }

  #load(member: string, now: number): number {
    const requests = this.#picked.get(member)
    if (!requests) return 0
    for (const [request, ends] of requests) if (ends <= now) requests.delete(request)
    if (requests.size === 0) this.#picked.delete(member)
    return requests.size
  }
}
