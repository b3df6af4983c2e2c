import { startRedis } from '@damon/testkit/redis-server'
import { describe } from 'vitest'
import { buildHouse } from '../src/house.ts'
import { heartbeat, waysContract } from './ways-contract.ts'

for (const machines of [1, 2])
  describe(`${machines} hub${machines > 1 ? 's' : ''} on one Redis`, () => {
    waysContract(async () => {
      const house = await buildHouse()
      const redis = await startRedis()
      const env = { ...heartbeat, REDIS_URL: redis.url }
      const hubs = await Promise.all(Array.from({ length: machines }, () => house.startHub(env)))
      return {
        house,
        urls: hubs.map(({ ready }) => ready.url ?? ''),
        async [Symbol.asyncDispose]() {
          await Promise.all(hubs.map((hub) => hub[Symbol.asyncDispose]()))
          await redis[Symbol.asyncDispose]()
          await house[Symbol.asyncDispose]()
        },
      }
    })
  })
