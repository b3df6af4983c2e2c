import type { Member } from '../bus.ts'
import { SmallMap } from '../small-map.ts'
import { removeFrom } from './lists.ts'

/** Who is in a channel, and which workers want what is put on it. */
export class Channels {
  /** Per channel, the sessions that are in it, with their subjects. */
  readonly #members = new Map<string, SmallMap<string, string>>()
  /** Per channel, the workers: few, and for most channels one. */
  readonly #subscribers = new Map<string, number[]>()

  enter(channel: string, session: string, subject: string): void {
    let members = this.#members.get(channel)
    if (!members) {
      members = new SmallMap()
      this.#members.set(channel, members)
    }
    members.set(session, subject)
  }

  leave(channel: string, session: string): void {
    const members = this.#members.get(channel)
    members?.delete(session)
    if (members?.size === 0) this.#members.delete(channel)
  }

  membersOf(channel: string): Member[] {
    const members: Member[] = []
    this.#members.get(channel)?.each((subject, session) => members.push({ session, subject }))
    return members
  }

  subscribe(channel: string, origin: number): void {
    const workers = this.#subscribers.get(channel)
    if (!workers) this.#subscribers.set(channel, [origin])
    else if (!workers.includes(origin)) workers.push(origin)
  }

  unsubscribe(channel: string, origin: number): void {
    const workers = this.#subscribers.get(channel)
    removeFrom(workers, origin)
    if (workers?.length === 0) this.#subscribers.delete(channel)
  }

  subscribersOf(channel: string): readonly number[] {
    return this.#subscribers.get(channel) ?? []
  }
}
