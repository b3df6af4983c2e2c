import { fileURLToPath } from 'node:url'
import { connect } from '@damon/client/connect'
import type { RecordChange } from '@damon/client/watch'
import { eventually } from '@damon/testkit/eventually'
import { startRedis } from '@damon/testkit/redis-server'
import { describe, expect, it } from 'vitest'
import { startActor } from '../src/actor.ts'
import { buildHouse } from '../src/house.ts'

const holder = fileURLToPath(new URL('./fixtures/lease-holder.ts', import.meta.url))
const fast = { HUB_HEARTBEAT_MS: '500', HUB_LEASE_GRACE_MS: '1000' }
/** A busy machine may take its time. */
const patience = { deadlineMs: 40_000 }

describe.each(['cluster', 'redis'])('a record on the bus %s', (bus) => {
  it('whose owner stood still for longer than its lease is not written by it once it has a successor', {
    timeout: 120_000,
  }, async () => {
    await using house = await buildHouse()
    await using redis = bus === 'redis' ? await startRedis() : undefined
    await using hub = await house.startHub(redis ? { ...fast, REDIS_URL: redis.url } : fast)
    const url = hub.ready.url!
    // The same subject: nothing but the generation tells the two apart.
    const env = { DAMON_CONNECTION_FILE: await house.connectionFile(url, 'node/one', ['put:thing/*']) }
    const said: string[] = []
    await using frozen = startActor(holder, { args: ['frozen'], env, hear: (line) => said.push(line) })
    await frozen.ready
    await using watcher = await connect(await house.credential(url, 'bot/watcher', ['get:thing/*']))
    const watch = watcher.watch<{ owner: string; count: number }>('thing/')
    const changes: RecordChange<{ owner: string; count: number }>[] = []
    watch.on('change', (change) => changes.push(change))
    await watch.ready()
    expect(watch.entries.get('thing/lease')?.value.owner).toBe('frozen')

    frozen.signal('SIGSTOP')
    await eventually(() => expect(changes.at(-1)).toMatchObject({ type: 'drop', reason: 'expired' }), patience)
    await using successor = startActor(holder, { args: ['successor'], env })
    await successor.ready
    await eventually(() => expect(watch.entries.get('thing/lease')?.value.owner).toBe('successor'))
    const from = changes.length
    const { generation = 0 } = watch.entries.get('thing/lease') ?? {}
    said.length = 0
    frozen.signal('SIGCONT')
    // It comes back, and wants to go on as if nothing had been.
    await eventually(() => expect(said).toContain('state connected'), patience)
    const seen = () => watch.entries.get('thing/lease')?.value.count ?? 0
    const before = seen()
    await eventually(() => expect(seen()).toBeGreaterThan(before + 40), patience)
    expect(new Set(changes.slice(from).map(({ entry }) => entry?.value.owner))).toEqual(new Set(['successor']))
    expect(watch.entries.get('thing/lease')).toMatchObject({ generation, state: 'live' })
  })
})

it('kept records are in a Redis with an append-only file though hub and Redis are killed while they are written', {
  timeout: 120_000,
}, async () => {
  await using house = await buildHouse()
  await using redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
  const written = new Map<string, number>()
  for (let round = 0; round < 2; round++) {
    await using hub = await house.startHub({ ...fast, REDIS_URL: redis.url })
    const can = ['put:kept/*', 'get:kept/*']
    const writer = await connect(await house.credential(hub.ready.url!, 'certs/one', can), { timeoutMs: 60_000 })
    const stored = new Map((await writer.list('kept/')).map(({ key, value }) => [key, value as number]))
    // What was under way when it was killed may be there, or not.
    for (const [key, value] of written) expect(stored.get(key)).toBeGreaterThanOrEqual(value)
    const until = written.size + 60
    let stopped = false
    const writing = [0, 1, 2, 3].map(async (lane) => {
      for (let i = 0; !stopped; i++) {
        const key = `kept/${round}-${lane}-${i % 40}`
        const value = i
        await writer.put(key, value).then(
          () => written.set(key, value),
          () => undefined,
        )
      }
    })
    await eventually(() => expect(written.size).toBeGreaterThan(until), patience)
    hub.signal('SIGKILL')
    await redis.kill()
    stopped = true
    // What waits for a hub that does not come back is given up.
    await writer.close()
    await Promise.all(writing)
    await redis.restart()
  }
  expect(written.size).toBeGreaterThan(120)
})
