import { startRedis } from '@damon/testkit/redis-server'
import { endRedisWorker, openRedis } from '../src/bus-redis.ts'
import { ScriptedRedis } from '../src/redis/client.ts'
import { backboneContract, type TestPlace, testTimes } from './backbone-contract.ts'
import { recorder } from './recorder.ts'
import { requestsContract } from './requests-contract.ts'
import { resumeContract } from './resume-contract.ts'

const openPlace = async (): Promise<TestPlace> => {
  const server = await startRedis()
  const options = { url: server.url, prefix: 'test:', times: testTimes }
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
      await server[Symbol.asyncDispose]()
    },
  }
}

backboneContract(openPlace)
resumeContract(openPlace)
requestsContract(openPlace)
