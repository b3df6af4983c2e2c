import { startRedisCluster } from '@damon/testkit/redis-cluster'
import { describe } from 'vitest'
import { buildHouse } from '../src/house.ts'
import { heartbeat, waysContract } from './ways-contract.ts'

describe('a hub on a Redis Cluster', () => {
  waysContract(async () => {
    const house = await buildHouse()
    const redis = await startRedisCluster()
    const hub = await house.startHub({ ...heartbeat, REDIS_URL: redis.url })
    return {
      house,
      urls: [hub.ready.url ?? ''],
      async [Symbol.asyncDispose]() {
        await hub[Symbol.asyncDispose]()
        await redis[Symbol.asyncDispose]()
        await house[Symbol.asyncDispose]()
      },
    }
  })
})
