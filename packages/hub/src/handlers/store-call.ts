import { damonError } from '@damon/protocol/errors'
import type { Written } from '../store.ts'

/**
 * Awaits the store, whose failures are the client's `unavailable`.
 * @throws DamonError `unavailable`
 */
export async function storeCall<T>(call: Promise<T>): Promise<T> {
  try {
    return await call
  } catch (cause) {
    throw damonError('unavailable', 'The store did not confirm.', { cause })
  }
}

/**
 * What a write did.
 * @throws DamonError with the code of the store's refusal
 */
export function written(result: Written): { revision: number; generation: number } {
  if ('refused' in result) throw damonError(result.refused)
  return result
}
