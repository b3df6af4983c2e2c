import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Calls `check` every 20 ms until it passes, and resolves to what it returned; after `deadlineMs` (20 s where nothing is
 * said) rejects with its last error.
 */
export async function eventually<T>(check: () => T | Promise<T>, options: { deadlineMs?: number } = {}): Promise<T> {
  const deadline = performance.now() + (options.deadlineMs ?? 20_000)
  for (;;) {
    try {
      return await check()
    } catch (error) {
      if (performance.now() > deadline) throw error
    }
    await sleep(20)
  }
}
