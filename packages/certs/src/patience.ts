import type { Clock } from './clock.ts'
import { CertsError } from './errors.ts'

const waits = [500, 1_000, 2_000, 4_000, 8_000] as const
const longestMs = 65_000

/**
 * Does a step that may be done twice, again after a failure that may pass by itself: six times within about 16 s. Gives
 * up at once when the other side asks for more than a minute: that is for the schedule.
 */
export async function patiently<T>(clock: Clock, signal: AbortSignal, step: () => Promise<T>): Promise<T> {
  for (const wait of waits) {
    try {
      return await step()
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CertsError) || !error.retry) throw error
      const at = Math.max(clock.now() + wait, error.retryAt ?? 0)
      if (at - clock.now() > longestMs) throw error
      await clock.until(at, signal)
    }
  }
  return step()
}
