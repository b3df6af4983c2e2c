import type { Logger } from '@damon/runtime/logger'
import { delay } from '@damon/runtime/retry'
import type { Redis } from 'ioredis'
import type { Kept } from './embedded/kept.ts'

/** How long to wait before a store that does not answer is asked again, ms. */
const againMs = 500

/** How far the trust list of one root has come, kept where a restart finds it. */
export interface TrustMark {
  /** The highest `seq` that ever counted, 0 where none is known. */
  highest(): Promise<number>
  /** MUST never lower it. */
  raise(seq: number): Promise<void>
}

/** Beside the kept records. `root` is the thumbprint of its key. */
export function keptTrustMark(kept: Pick<Kept, 'trusted' | 'trust'>, root: string): TrustMark {
  return {
    highest: async () => kept.trusted(root),
    raise: async (seq) => {
      if (seq > kept.trusted(root)) kept.trust(root, seq)
    },
  }
}

/** In Redis, for all hubs on it, under this key. A Redis that comes back empty is told anew. */
export function redisTrustMark(redis: Redis, key: string, root: string): TrustMark {
  let known = 0
  const tell = async () => {
    await redis.zadd(key, 'GT', known, root)
  }
  redis.on('ready', () => {
    if (known > 0) tell().catch(() => undefined)
  })
  return {
    highest: async () => Number((await redis.zscore(key, root)) ?? 0),
    raise: async (seq) => {
      known = Math.max(known, seq)
      await tell()
    },
  }
}

/**
 * Holds the list that a hub starts with against those that counted before, and waits for a store that does not answer yet.
 * Rejects when it is older, and when `stopping` is aborted meanwhile.
 */
export async function holdTrust(
  mark: TrustMark,
  seq: number,
  { log, stopping }: { log: Logger; stopping: AbortSignal },
): Promise<void> {
  const highest = await untilAnswered(() => mark.highest(), { log, stopping })
  if (seq < highest)
    throw new Error(
      `The trust list has seq ${seq}, but one with ${highest} counted before: an older one is not taken back.`,
    )
  await untilAnswered(() => mark.raise(seq), { log, stopping })
}

async function untilAnswered<T>(ask: () => Promise<T>, options: { log: Logger; stopping: AbortSignal }): Promise<T> {
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      options.log.warn(
        { err: error },
        'the store does not answer, and how far the trust list has come is not known yet: asking again',
      )
      await delay(againMs, options.stopping)
    }
  }
}
