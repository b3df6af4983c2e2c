/** Listeners by event. One that throws is reported and disturbs neither the others nor the sender. */
export class Listeners<Events extends object> {
  readonly #byEvent = new Map<keyof Events, Set<(value: never) => void>>()
  readonly #report: (error: unknown) => void

  constructor(report: (error: unknown) => void) {
    this.#report = report
  }

  on<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): Disposable {
    // A wrapper of its own, so that one function may listen twice and each registration ends alone.
    const own = (value: Events[E]) => listener(value)
    const listeners = this.#byEvent.get(event) ?? new Set()
    this.#byEvent.set(event, listeners.add(own))
    return { [Symbol.dispose]: () => void listeners.delete(own) }
  }

  /** Calls the listeners of an event, and says whether there were any. */
  emit<E extends keyof Events>(event: E, value: Events[E]): boolean {
    const listeners = this.#byEvent.get(event)
    if (!listeners || listeners.size === 0) return false
    for (const listener of [...listeners]) guard(() => listener(value as never), this.#report)
    return true
  }
}

/** Runs a user's function; what it throws, or rejects with when it is async, is reported. */
export function guard(run: () => unknown, report: (error: unknown) => void): void {
  try {
    const result = run()
    if (result instanceof Promise) result.catch(report)
  } catch (error) {
    report(error)
  }
}

/** Where errors go that nobody listens for: a warning of the process, or of the browser's console. */
export function warn(error: unknown): void {
  const warning = error instanceof Error ? error : new Error(String(error))
  if (typeof process === 'object' && typeof process.emitWarning === 'function') process.emitWarning(warning)
  else console.warn(warning)
}
