import { join } from 'node:path'
import type { Logger } from '@damon/runtime/logger'
import { eventually } from '@damon/testkit/eventually'
import { startRedis } from '@damon/testkit/redis-server'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, it } from 'vitest'
import { openKept } from '../src/embedded/kept.ts'
import { connectTo } from '../src/redis/client.ts'
import { holdTrust, keptTrustMark, redisTrustMark, type TrustMark } from '../src/trust-mark.ts'

const log = { warn: () => undefined } as unknown as Logger
const stopping = new AbortController().signal

/** What every mark must do: `again` opens the same place anew. */
async function contract(mark: TrustMark, other: TrustMark, again: () => TrustMark): Promise<void> {
  await holdTrust(mark, 3, { log, stopping })
  await mark.raise(7)
  await mark.raise(5)
  expect([await mark.highest(), await other.highest()]).toEqual([7, 0])
  const restarted = again()
  await expect(holdTrust(restarted, 6, { log, stopping })).rejects.toThrow(
    'The trust list has seq 6, but one with 7 counted before',
  )
  await holdTrust(restarted, 7, { log, stopping })
  await holdTrust(restarted, 8, { log, stopping })
  expect(await restarted.highest()).toBe(8)
}

it('is kept on disk, per root, and an older list is not taken back by a restart', async () => {
  await using folder = await temporaryFolder()
  const file = join(folder.path, 'records.sqlite')
  const first = openKept(file)
  await contract(keptTrustMark(first, 'root'), keptTrustMark(first, 'other'), () => {
    first[Symbol.dispose]()
    return keptTrustMark(openKept(file), 'root')
  })
})

it('is kept in Redis for every hub, is waited for, and told again to a Redis that comes back empty', async () => {
  await using server = await startRedis()
  const open = () => connectTo({ url: server.url, prefix: '' }, 'test')
  const [one, two] = [open(), open()]
  try {
    const mark = redisTrustMark(one, 'trust', 'root')
    const held = holdTrust(mark, 3, { log, stopping })
    // Asked before it is connected.
    await two.connect()
    await held
    await contract(mark, redisTrustMark(one, 'trust', 'other'), () => redisTrustMark(two, 'trust', 'root'))
    await two.flushall()
    one.disconnect(true)
    await eventually(async () => expect(await redisTrustMark(two, 'trust', 'root').highest()).toBe(7))
  } finally {
    one.disconnect()
    two.disconnect()
  }
})

it('that is not known when the hub is told to stop is waited for no longer', async () => {
  const mark: TrustMark = { highest: () => Promise.reject(new Error('No answer.')), raise: async () => undefined }
  const stop = new AbortController()
  const held = holdTrust(mark, 1, { log, stopping: stop.signal })
  stop.abort(new Error('stop'))
  await expect(held).rejects.toThrow()
})
