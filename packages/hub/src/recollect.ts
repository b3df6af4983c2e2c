import type { Position } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import type { Range } from './bus.ts'
import type { Metrics } from './metrics.ts'
import type { Readings } from './readings.ts'
import type { Requester, Requests } from './requests.ts'
import type { OpenRequest, Store } from './store.ts'
import { readWord, type Word } from './word.ts'
import { framesOf, payloadAt } from './ws-frame.ts'

/**
 * Goes on collecting the answers to the requests of a session that came here: from what the store remembers of them, and the
 * words on them that the logs have up to where the session was taken over. Those are given to the session as all else that
 * it missed; what comes later comes by its channel. Rejects when store or logs cannot be reached.
 */
export async function recollect(
  requester: Requester,
  heads: readonly Position[],
  {
    readings,
    store,
    requests,
    metrics,
  }: { readings: Pick<Readings, 'read'>; store: Store; requests: Requests; metrics: Metrics },
): Promise<void> {
  const open = await store.requests(requester.id)
  if (open.length === 0) return
  const channel = `session/${requester.id}`
  const ranges = heads.flatMap(({ origin, to, seq: until }): Range[] => {
    if (to !== channel) return []
    const from = 1 + Math.min(...open.map((request) => headOf(request, origin)))
    return from <= until ? [{ origin, to, from, until }] : []
  })
  const words = new Map<number, Word[]>(open.map(({ number }) => [number, []]))
  const missing = await readings.read(ranges, limits.replayBytes, async ({ batches, missing }) => {
    for (const { batch } of batches)
      for (const bytes of framesOf(batch.bytes)) {
        const word = readWord(bytes, payloadAt(bytes))
        if (word) words.get(word.request)?.push(word)
      }
    return missing
  })
  for (const request of open) {
    const complete = missing.every(({ origin, until }) => until <= headOf(request, origin))
    metrics.recollected.inc({ result: complete ? 'complete' : 'incomplete' })
    requests.restore(requester, request, words.get(request.number) ?? [], complete)
  }
  // Who ended while nobody collected was told to nobody.
  const receivers = open.flatMap(({ receivers }) => receivers.map(({ session }) => session))
  requests.gone(await store.absent([...new Set(receivers)]))
}

/** Where an origin stood on the requester's channel before the request. */
function headOf({ heads }: OpenRequest, origin: number): number {
  return heads.find((head) => head.origin === origin)?.seq ?? 0
}
