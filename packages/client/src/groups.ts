import { damonError } from '@damon/protocol/errors'
import { isSegment } from '@damon/protocol/names'
import type { Calls } from './calls.ts'
import { quiet, unlessAborted } from './deferred.ts'
import type { Positions } from './positions.ts'

/** The groups this client is in, kept over reconnects: each hello names them. */
export class Groups {
  readonly #calls: Calls
  readonly #joined: Set<string>
  readonly #positions: Pick<Positions, 'raise' | 'forget'>
  readonly #isConnected: () => boolean

  constructor(
    groups: readonly string[],
    calls: Calls,
    positions: Pick<Positions, 'raise' | 'forget'>,
    isConnected: () => boolean,
  ) {
    for (const group of groups) checkGroup(group)
    this.#joined = new Set(groups)
    this.#calls = calls
    this.#positions = positions
    this.#isConnected = isConnected
  }

  list(): string[] {
    return [...this.#joined]
  }

  async join(group: string, signal?: AbortSignal): Promise<void> {
    checkGroup(group)
    if (this.#joined.has(group)) return
    signal?.throwIfAborted()
    const joined = this.#join(group)
    try {
      await unlessAborted(joined, signal)
      this.#joined.add(group)
    } catch (error) {
      // It may be on its way already: what joins after all leaves again.
      if (signal?.aborted) quiet(joined.then(() => this.#leave(group)))
      throw error
    }
  }

  async leave(group: string, signal?: AbortSignal): Promise<void> {
    checkGroup(group)
    if (!this.#joined.delete(group)) return
    // Without a connection there is nothing to leave: the next hello does not name the group.
    if (!this.#isConnected()) return this.#positions.forget(`group/${group}`)
    try {
      await unlessAborted(this.#leave(group), signal)
    } catch (error) {
      if (this.#isConnected()) throw error
    } finally {
      this.#positions.forget(`group/${group}`)
    }
  }

  /** Joins what did not fit into the hello. */
  async joinRest(groups: readonly string[]): Promise<void> {
    for (const group of groups) await this.#join(group)
  }

  async #join(group: string): Promise<void> {
    const { ack } = await this.#calls.call((id) => ({ type: 'join', id, group }), { repeat: true })
    this.#positions.raise(ack?.positions ?? [])
  }

  async #leave(group: string): Promise<void> {
    await this.#calls.call((id) => ({ type: 'leave', id, group }), { repeat: false })
  }
}

/** Throws `bad_field` for what is no group's name. */
export function checkGroup(group: string): void {
  if (!isSegment(group)) throw damonError('bad_field', `group: "${group}" is no group.`, { field: 'group' })
}
