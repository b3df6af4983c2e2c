import { type RedisCluster, startRedisCluster } from '@damon/testkit/redis-cluster'
import { afterAll, beforeAll } from 'vitest'
import { endRedisWorker, openRedis } from '../src/bus-redis.ts'
import { ScriptedRedis } from '../src/redis/client.ts'
import { backboneContract, type TestPlace, testTimes } from './backbone-contract.ts'
import { recorder } from './recorder.ts'
import { resumeContract } from './resume-contract.ts'

let cluster: RedisCluster
let hubs = 0

beforeAll(async () => {
  cluster = await startRedisCluster()
}, 60_000)
afterAll(() => cluster[Symbol.asyncDispose]())

/** Each is in a slot of its own, so that all nodes get their share. */
const openPlace = async (): Promise<TestPlace> => {
  const options = { url: cluster.url, prefix: `test${++hubs}:`, times: testTimes }
  const control = new ScriptedRedis(options, 'test-primary')
  await control.redis.connect()
  return {
    async worker() {
      const record = recorder()
      return { ...record, ...(await openRedis(options, record.arrive, record.events)) }
    },
    bury: (worker) => endRedisWorker(control, options, worker.bus.origin),
    async [Symbol.asyncDispose]() {
      control.redis.disconnect()
    },
  }
}

backboneContract(openPlace)
resumeContract(openPlace)
