/** How long to wait before each further try. */
export interface Backoff {
  /** Milliseconds until the next try: anything from 0 to a bound that doubles with each call, up to `maxMs`. */
  next(): number
  /** Call it after a success: the bound starts again at `baseMs`. */
  reset(): void
}

/** Full-jitter backoff: the whole delay is random, so that a crowd that lost its server does not come back as one. */
export function backoff(options: { baseMs: number; maxMs: number; random?: () => number }): Backoff {
  const random = options.random ?? Math.random
  let bound = options.baseMs
  return {
    next() {
      const ms = random() * Math.min(bound, options.maxMs)
      bound = Math.min(bound * 2, options.maxMs)
      return Math.round(ms)
    },
    reset() {
      bound = options.baseMs
    },
  }
}

/** Resolves after `ms` milliseconds; rejects with the signal's reason as soon as it is aborted. */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  if (signal?.aborted) {
    reject(signal.reason)
    return promise
  }
  const abort = () => {
    clearTimeout(timer)
    reject(signal?.reason)
  }
  const timer = setTimeout(() => {
    signal?.removeEventListener('abort', abort)
    resolve()
  }, ms)
  signal?.addEventListener('abort', abort, { once: true })
  return promise
}
