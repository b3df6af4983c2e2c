/** A promise with its ends outside; `Promise.withResolvers` begins with Node 22. Its rejection never counts as unhandled. */
export interface Deferred<T> {
  readonly promise: Promise<T>
  resolve(value: T): void
  reject(error: unknown): void
}

/** Makes a promise that is settled from outside. */
export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise: quiet(promise), resolve, reject }
}

/** The same promise; nobody awaiting it is no reason for the process to die. */
export function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

/** Settles as the promise does, or rejects with the signal's reason as soon as that is aborted. */
export function unlessAborted<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return promise
  const { promise: result, resolve, reject } = deferred<T>()
  const abort = () => reject(signal.reason)
  if (signal.aborted) abort()
  signal.addEventListener('abort', abort, { once: true })
  promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  return result
}

/** A timer that does not keep the process alive. `ms` beyond what timers can do waits that long and no longer. */
export function unrefTimer(action: () => void, ms: number): ReturnType<typeof setTimeout> {
  const timer = setTimeout(action, Math.min(Math.max(ms, 0), 2 ** 31 - 1))
  // Browsers know no unref: their timers are numbers.
  if (typeof timer === 'object') timer.unref()
  return timer
}
