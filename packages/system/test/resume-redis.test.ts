import { randomUUID } from 'node:crypto'
import { startRedis } from '@damon/testkit/redis-server'
import { describe } from 'vitest'
import { buildHouse } from '../src/house.ts'
import { resumeWays } from './resume-ways.ts'
import { heartbeat } from './ways-contract.ts'

for (const machines of [1, 2])
  describe(`${machines} hub${machines > 1 ? 's' : ''} on one Redis`, () => {
    resumeWays(async () => {
      const house = await buildHouse()
      const redis = await startRedis()
      const start = async (env: Readonly<Record<string, string>>) => {
        const hub = await house.startHub({ ...heartbeat, REDIS_URL: redis.url, ...env })
        return { url: hub.ready.url ?? '', [Symbol.asyncDispose]: () => hub[Symbol.asyncDispose]() }
      }
      const hubs = await Promise.all(Array.from({ length: machines }, () => start({})))
      return {
        house,
        urls: hubs.map(({ url }) => url),
        apart: (env) => start({ REDIS_PREFIX: `${randomUUID()}:`, ...env }),
        async [Symbol.asyncDispose]() {
          await Promise.all(hubs.map((hub) => hub[Symbol.asyncDispose]()))
          await redis[Symbol.asyncDispose]()
          await house[Symbol.asyncDispose]()
        },
      }
    })
  })
