import type { Logger } from '@damon/runtime/logger'
import type { Replica } from './replica.ts'
import type { Store } from './store.ts'

/**
 * Writes the kept records of this worker's copy back, in case the store has cut it off because it was emptied. Resolves when
 * that was tried.
 */
export async function rescue(replica: Replica, store: Pick<Store, 'restore'>, log: Logger): Promise<void> {
  const kept = replica.list('').filter(({ leased }) => !leased)
  try {
    const count = await store.restore(kept, replica.revision)
    if (count > 0) log.warn({ count }, 'the store was emptied: kept records were written back')
  } catch (error) {
    log.error({ err: error }, 'whether the store was emptied is not known: no kept records were written back')
  }
}
