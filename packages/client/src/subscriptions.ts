import { damonError } from '@damon/protocol/errors'
import { isEvent } from '@damon/protocol/names'

/** Listeners by event, where an event may end with `*`: `player.*` is every event that begins with `player.`, `*` is all. */
export class Subscriptions<Listener> {
  readonly #exact = new Map<string, Set<{ listener: Listener }>>()
  /** By what stands before the star, longest first. */
  #prefixes: { prefix: string; listeners: Set<{ listener: Listener }> }[] = []

  /** Throws `bad_field` for what is neither an event nor ends with `*`. */
  add(event: string, listener: Listener): Disposable {
    const entry = { listener }
    const listeners = this.#at(event)
    listeners.add(entry)
    return {
      [Symbol.dispose]: () => {
        listeners.delete(entry)
        if (listeners.size > 0) return
        if (this.#exact.get(event) === listeners) this.#exact.delete(event)
        this.#prefixes = this.#prefixes.filter((kept) => kept.listeners !== listeners)
      },
    }
  }

  /** Whether exactly this event, star and all, has a listener. */
  has(event: string): boolean {
    return event.endsWith('*')
      ? this.#prefixes.some(({ prefix }) => prefix === event.slice(0, -1))
      : this.#exact.has(event)
  }

  /** The listeners of an event, the most particular first. */
  of(event: string): Listener[] {
    const found = [...(this.#exact.get(event) ?? [])]
    for (const { prefix, listeners } of this.#prefixes) if (event.startsWith(prefix)) found.push(...listeners)
    return found.map(({ listener }) => listener)
  }

  #at(event: string): Set<{ listener: Listener }> {
    const starred = event.endsWith('*')
    const name = starred ? event.slice(0, -1) : event
    if (!(starred && name === '') && !isEvent(name))
      throw damonError('bad_field', `event: "${event}" is no event.`, { field: 'event' })
    const known = starred ? this.#prefixes.find(({ prefix }) => prefix === name)?.listeners : this.#exact.get(name)
    if (known) return known
    const made = new Set<{ listener: Listener }>()
    if (starred) {
      this.#prefixes.push({ prefix: name, listeners: made })
      this.#prefixes.sort((a, b) => b.prefix.length - a.prefix.length)
    } else this.#exact.set(name, made)
    return made
  }
}
