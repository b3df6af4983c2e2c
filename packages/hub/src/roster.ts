import type { Departures } from './departures.ts'
import type { Session } from './session.ts'
import type { Store } from './store.ts'

/** The sessions that are this worker's, and those that are about to be, by their ids. */
export class Roster {
  readonly #departures: Departures
  readonly #store: Pick<Store, 'release'>
  readonly #held = new Map<string, Session>()
  /** They ask the store for a session; whether it is theirs only the store can say. */
  readonly #asking = new Map<string, Set<Session>>()

  constructor(departures: Departures, store: Pick<Store, 'release'>) {
    this.#departures = departures
    this.#store = store
  }

  /** The store takes this worker for the owner of the session. */
  hold(session: Session): void {
    this.#held.set(session.id, session)
  }

  /** It asks for a session by an id and a secret. Whoever has both here, on a line that may be dead, makes room. */
  ask(session: Session): void {
    const { id } = session
    const others = [this.#held.get(id), ...(this.#asking.get(id) ?? [])]
    for (const other of others) if (other?.digest === session.digest) other.close('replaced')
    const asking = this.#asking.get(id) ?? new Set()
    this.#asking.set(id, asking.add(session))
  }

  /** It was told whether it has what it asked for. */
  answered(session: Session): void {
    const asking = this.#asking.get(session.id)
    asking?.delete(session)
    if (asking?.size === 0) this.#asking.delete(session.id)
  }

  /** It is not this worker's any more. */
  remove(session: Session): void {
    if (this.#held.get(session.id) === session) this.#held.delete(session.id)
  }

  /** Its line has ended. */
  end(session: Session): void {
    this.remove(session)
    this.#departures.add(session.id, session.departure, () => session.settledNumber)
  }

  /** Another worker wants this worker's session. */
  release(id: string): void {
    const held = this.#held.get(id)
    if (held) held.close('replaced')
    else if (this.#asking.has(id)) for (const session of this.#asking.get(id) ?? []) session.close('replaced')
    else if (!this.#departures.has(id)) this.#store.release(id, 0).catch(() => undefined)
  }
}
