import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Registry } from 'prom-client'
import { expect, it } from 'vitest'
import { createMetrics } from '../src/metrics.ts'
import { Requests } from '../src/requests.ts'

/** What one open request may take, as the README states it: beside 200 for each receiver beyond the first. */
const bound = { perRequest: 2_048, requests: 100_000 }

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

it('100,000 open requests take at most 2 KiB each, and nothing once they are settled', () => {
  const requests = new Requests({
    metrics: createMetrics(new Registry()),
    publisher: { publish: () => undefined },
    settlements: { add: () => undefined },
  })
  const used = () => {
    collect()
    return process.memoryUsage().heapUsed
  }
  const members = Array.from({ length: 1_000 }, (_, i) => i.toString(16).padStart(16, '0'))
  const before = used()
  // As in a worker: each member comes with its own answer of the bus.
  for (let i = 0; i < bound.requests; i++) {
    const asker = `a${(i % 100).toString(16).padStart(15, '0')}`
    const requester = { id: asker, counts: () => undefined, settled: () => undefined }
    requests.begin(requester, { number: i, channel: 'group/g', deadlineMs: 60_000, quorum: 0 })
    requests.freeze(asker, i, [{ session: members[i % 1_000]!, subject: `bot/b${i % 1_000}` }])
  }
  expect(requests.size).toBe(bound.requests)
  const each = (used() - before) / bound.requests
  console.log(`${Math.round(each)} bytes for each of ${bound.requests} open requests`)
  expect(each).toBeLessThan(bound.perRequest)
  for (let i = 0; i < 100; i++) requests.endSession(`a${i.toString(16).padStart(15, '0')}`)
  expect(requests.size).toBe(0)
  expect((used() - before) / bound.requests).toBeLessThan(64)
})
